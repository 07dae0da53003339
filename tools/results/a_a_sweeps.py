"""How often sweeps of one engine are told to differ: all pairs of them, and all divisions into two equal sides.

Usage: `python -m tools.results.a_a_sweeps runs/a_a --write docs/results/sweeps/a_a_sweeps.md`, from an environment that
has engine_probe, after `engine_probe sweep smoke --model tiny --against smoke --rounds 4 --out runs/a_a`.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from textwrap import fill

from engine_probe.analysis.compare.changes import Change
from engine_probe.analysis.compare.gates import read_gate
from engine_probe.errors import EngineProbeError
from engine_probe.evaluation.comparison import Comparison, paired
from engine_probe.evaluation.measurement import Opened, opened
from engine_probe.evaluation.occasions import between
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import is_sweep
from tools.result_page import head_commit, host_words, options, show, table

RATE = "output_tokens_per_s"
GATE = read_gate(f"{RATE} < -5%")
MEASURED = "engine_probe sweep smoke --model tiny --against smoke --rounds 4 --out runs/a_a"
TOP = "# Sweeps of one engine against each other"
WIDTH = 120
Sweep = tuple[Path, Opened]


@dataclass(frozen=True)
class Outcome:
    """Holds what one comparison of two sides concluded, which are one engine."""

    told: bool  # any change at any point or over all points is better or worse
    rate_told: bool  # that of throughput over all points
    without_zero: bool  # its interval
    broken: bool  # the gate, anywhere
    broken_together: bool  # the gate, over all points
    open: bool  # the gate, everywhere


def outcome(found: Comparison) -> Outcome:
    whole = found.together
    rate = whole.change(RATE) if whole else None
    if whole is None or rate is None:
        raise EngineProbeError(f"{found.before} and {found.after} have no {RATE} over all points")
    answers = {held.point: held.answer for held in found.held([GATE])}
    return Outcome(
        told=any(map(is_told, [*whole.changes, *(change for pair in found.pairs for change in pair.changes)])),
        rate_told=is_told(rate),
        without_zero=rate.interval is not None and not rate.interval[0] <= 0 <= rate.interval[1],
        broken="broken" in answers.values(),
        broken_together=answers[whole.name] == "broken",
        open=set(answers.values()) == {"open"},
    )


def is_told(change: Change) -> bool:
    return change.verdict in ("better", "worse")


def pairs(sweeps: Sequence[Sweep], with_history: bool) -> list[Outcome]:
    """Compare each with each, without more or with all others as earlier sweeps."""
    found = []
    for one, other in combinations(sweeps, 2):
        others = [each for each in sweeps if each is not one and each is not other] if with_history else []
        found.append(outcome(paired(*one, *other, history=others)))
    return found


def divisions(sweeps: Sequence[Sweep]) -> list[Outcome]:
    """Compare all halves with the other halves, each division once."""
    found = []
    for beside in combinations(range(1, len(sweeps)), len(sweeps) // 2 - 1):
        half = [sweeps[number] for number in (0, *beside)]
        rest = [sweeps[number] for number in range(1, len(sweeps)) if number not in beside]
        (before, old), (after, new) = (
            ([folder for folder, _ in side], [each for _, each in side]) for side in (half, rest)
        )
        found.append(outcome(between(before, old, after, new)))
    return found


def rates(sweeps: Sequence[Sweep]) -> Iterator[tuple[str, float]]:
    """Yield the geometric mean of throughput over all points of each sweep, relative to that of the first."""
    first, *others = sweeps
    yield first[0].name, 0.0
    for other in others:
        whole = paired(*first, *other).together
        change = whole.change(RATE) if whole else None
        yield other[0].name, (change.relative or 0.0) if change else 0.0


def rows(title: str, found: Sequence[Outcome]) -> Iterator[str]:
    counts = {
        "any change called better or worse": sum(each.told for each in found),
        "throughput over all points called better or worse": sum(each.rate_told for each in found),
        "interval of throughput over all points without zero": sum(each.without_zero for each in found),
        f"`{GATE.text}` broken at a point or over all points": sum(each.broken for each in found),
        f"`{GATE.text}` broken over all points": sum(each.broken_together for each in found),
        f"`{GATE.text}` open everywhere": sum(each.open for each in found),
    }
    yield from ("", f"**{title}**", "", *table(("concluded", f"of {len(found)}"), counts.items()))


def document(sweeps: Sequence[Sweep], remark: str = "") -> Iterator[str]:
    asked = f" --remark {shlex.quote(remark)}" if remark else ""
    yield from (TOP, "", "Nothing differs between these sweeps but the time at which they were measured:", "")
    yield f"    {MEASURED}"
    yield f"    python -m tools.results.a_a_sweeps runs/a_a --write docs/results/sweeps/a_a_sweeps.md{asked}"
    first, *_, last = map(started, sweeps)
    machine = host_words(next(runs(sweeps[0])).facts)
    yield from ("", f"Started from {first:%Y-%m-%d %H:%M} to {last:%H:%M} on {machine}. {remark}".rstrip())
    yield f"Compared at commit {head_commit()}."
    changes = ((name, f"{change:+.1%}") for name, change in rates(sweeps))
    yield from ("", *table(("sweep", "output tokens/s over all points, against the first"), changes))
    half = len(sweeps) // 2
    alone, known, halves = pairs(sweeps, with_history=False), pairs(sweeps, with_history=True), divisions(sweeps)
    yield from rows("One against one", alone)
    yield from rows(f"One against one, the other {len(sweeps) - 2} as `--history`", known)
    yield from rows(f"{half} against {half}, all divisions (they share sweeps)", halves)
    yield from meaning(alone, known, halves)


def meaning(alone: Sequence[Outcome], known: Sequence[Outcome], halves: Sequence[Outcome]) -> Iterator[str]:
    """Yield what the counts mean."""
    without, drift = (sum(each.without_zero for each in found) for found in (alone, known))
    broken, told = sum(each.broken_together for each in known), sum(each.told for each in halves)
    text = (
        "One sweep on each side gives no verdict, because nothing is tested. The intervals within the sweeps do not "
        f"include the drift between sweeps: they leave out zero in {without} of {len(alone)} pairs. With the drift "
        f"that the other sweeps show it is {drift} of {len(known)}, and the bound breaks over all points in {broken}. "
        f"Divisions are tested: {told} of {len(halves)} have any change called better or worse, where 5 % would be "
        f"{len(halves) / 20:.1f}. Pairs and divisions share their sweeps, so these counts vary more than those of as "
        "many independent ones (`calibration.md`)."
    )
    yield from ("", "## What the figures mean", "", fill(text, WIDTH))


def runs(sweep: Sweep) -> Iterator[Run]:
    for side in sweep[1].points.values():
        yield from side.runs


def started(sweep: Sweep) -> datetime:
    return datetime.fromtimestamp(min(run.facts["clock"]["wall_ns"] for run in runs(sweep)) / 1e9, UTC)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("folder", type=Path, help="holds the sweeps")
    parser.add_argument("--remark", default="", help="a sentence on the machine, such as what else it did")
    asked = parser.parse_args()
    folders = [folder for folder in sorted(asked.folder.iterdir()) if is_sweep(folder)]
    if len(folders) < 4 or len(folders) % 2:
        parser.error(f"{asked.folder} holds {len(folders)} sweeps: an even number is needed, at least 4")
    try:
        lines = list(document(sorted(((folder, opened(folder)) for folder in folders), key=started), asked.remark))
    except EngineProbeError as error:
        sys.exit(str(error))
    show(lines, asked.write)


if __name__ == "__main__":
    main()
