"""How far twins lie from a real engine, on points that had no part in their fit: errors, and whether intervals hold.

Usage: `python -m tools.twin_accuracy --write docs/results/twin_accuracy.md`, in the root of the repository, where
nothing else runs: some nine minutes. Points for the fit and held-out points take turns on the same engine, in two
rounds, so that the machine's drift is in both, and seen between two measurements of the same point. --keep FOLDER
leaves the recordings there. With --kernels FILE of `engine_probe validate --json` the same points are also predicted
from measured kernels alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

import engine_probe
from engine_probe.analysis.batch.prediction_interval import RATE
from engine_probe.analysis.run.summary import Summary
from engine_probe.commands.sweep.twin import limits, step_times
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import Price
from engine_probe.recordings.run import Run

MODELS = ("smollm2", "tiny")
AIMS = {"E2EL p50": 0.067, "TTFT p50": 0.10, RATE: 0.10}
COVERAGE = 0.9
FIGURES = (RATE, "TTFT p50", "TPOT p50", "ITL p50", "ITL p99", "E2EL p50")
HEAD = """\
question = "How far off is the twin?"
repeats = {repeats}
[engine]
model = "{model}"
[engine.arguments]
block_size = 32
num_gpu_blocks_override = 129
max_model_len = 512
enforce_eager = true
max_num_batched_tokens = {budget}
enable_prefix_caching = {caching}
[workload]
hold = false
"""
# What tiny is asked, and how often, in multiples of what smollm2 is: its steps are shorter by as much, and a recording
# of a fifth of a second tells more of the machine's moment than of the engine.
SPEEDS = {"tiny": 8}
ROUNDS = 2


class Case(NamedTuple):
    """One measured point."""

    name: str
    arrivals: Callable[[int], str]  # from the model's speed
    prompts: str
    output_len: int
    requests: int
    fitted: bool = False  # a recording that step times are fitted to


def users(number: int) -> Callable[[int], str]:
    return lambda speed: f'{{ kind = "closed_loop", users = {number} }}'


def rate(per_second: float) -> Callable[[int], str]:
    return lambda speed: f'{{ kind = "open_loop", request_rate = {per_second * speed} }}'


def random(tokens: int) -> str:
    return f'{{ kind = "random", input_len = {tokens} }}'


def shared(prefix: int, tokens: int) -> str:
    return f'{{ kind = "shared_prefix", prefix_len = {prefix}, input_len = {tokens} }}'


class Engine(NamedTuple):
    """One engine with its points, those for the fit and held-out ones in turns."""

    name: str
    budget: int  # max_num_batched_tokens
    caching: bool
    cases: tuple[Case, ...]


ENGINES = (
    Engine(
        "plain",
        512,
        False,
        (
            Case("1 user", users(1), random(64), 24, 8, fitted=True),
            Case("2 users", users(2), random(64), 32, 12),
            Case("4 users", users(4), random(64), 32, 16, fitted=True),
            Case("8 users", users(8), random(64), 32, 24),
            Case("16 users", users(16), random(64), 32, 32, fitted=True),
            Case("12 users", users(12), random(64), 32, 24),
            Case("4 users, prompts of 192", users(4), random(192), 16, 12, fitted=True),
            Case("6 users, prompts of 128", users(6), random(128), 24, 18),
            Case("8 users, prompts of 24, answers of 64", users(8), random(24), 64, 16, fitted=True),
            Case("3 users, prompts of 32, answers of 96", users(3), random(32), 96, 6),
            Case("2 requests/s", rate(2.0), random(64), 32, 12, fitted=True),
            Case("3 requests/s, prompts of 96", rate(3.0), random(96), 24, 16),
        ),
    ),
    Engine(
        "prefix caching",
        512,
        True,
        (
            Case("6 users, 96 of 128 tokens shared", users(6), shared(96, 32), 24, 18),
            Case("12 users, 160 of 192 tokens shared", users(12), shared(160, 32), 32, 24),
        ),
    ),
    Engine(
        "short chunks",
        96,
        False,
        (
            Case("4 users, prompts of 192 in chunks", users(4), random(192), 24, 12),
            Case("12 users, prompts of 64 in chunks", users(12), random(64), 32, 24),
        ),
    ),
)


def sweep_text(model: str, engine: Engine, cases: Sequence[Case], repeats: int = 1) -> str:
    """Return a sweep file of these points; each has a seed of its own, by which it is found again."""
    head = HEAD.format(model=model, budget=engine.budget, caching=str(engine.caching).lower(), repeats=repeats)
    first, *others = (settings(engine, case, SPEEDS.get(model, 1)) for case in cases)
    lines = ["[axes]", *(f"{name} = [{value}]" for name, value in first.items())]
    for other in others:
        lines += ["[[include]]", *(f"{name} = {value}" for name, value in other.items())]
    return head + "\n".join(lines) + "\n"


def settings(engine: Engine, case: Case, speed: int) -> dict[str, str]:
    """Return the values of a point's axes, as TOML."""
    return {
        '"workload.seed"': str(seed(engine, case)),
        '"workload.prompts"': case.prompts,
        '"workload.output_len"': str(case.output_len),
        '"workload.num_prompts"': str(case.requests * speed),
        '"workload.arrivals"': case.arrivals(speed),
    }


def seed(engine: Engine, case: Case) -> int:
    return 100 * ENGINES.index(engine) + engine.cases.index(case)


class Compared(NamedTuple):
    """One figure of a held-out point."""

    engine: str
    case: str
    figure: str
    measured: float
    again: float  # in the second round
    predicted: float
    low: float
    high: float

    @property
    def change(self) -> float:
        return self.again / self.measured - 1

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1

    @property
    def inside(self) -> bool:
        return self.low <= self.measured <= self.high


def swept(text: str, folder: Path, *more: str) -> dict[int, list[Run]]:
    """Run a sweep, and return its recordings by their seeds, in the order of rounds."""
    file = folder.with_suffix(".toml")
    file.write_text(text, encoding="utf-8")
    words = [sys.executable, "-m", "engine_probe", "sweep", str(file), "--out", str(folder), *more]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{folder.name}: {done.stderr[-3000:]}")
    found: dict[int, list[Run]] = {}
    for run in sorted(engine_probe.load_sweep(folder).runs, key=began_at):
        found.setdefault(run.facts["workload"]["seed"], []).append(run)
    return found


def began_at(run: Run) -> int:
    return int(run.iterations["start_ns"][0].as_py())


class Accuracy(NamedTuple):
    """The comparisons of one model's figures with the calibrated twin's and the derived one's."""

    calibrated: list[Compared]
    derived: list[Compared]
    requests: dict[str, Price]  # of the calibrated twin


def model_accuracy(model: str, place: Path, kernels: Path | None) -> Accuracy:
    measured: dict[int, list[Run]] = {}
    for engine in ENGINES:
        print(f"{model}, {engine.name}: measuring {len(engine.cases)} points, {ROUNDS} times", file=sys.stderr)
        measured |= swept(sweep_text(model, engine, engine.cases, ROUNDS), place / f"{model} {engine.name}")
    fitted = [run for each in ENGINES for case in each.cases if case.fitted for run in measured[seed(each, case)]]
    times = step_times(fitted)
    calibrated, derived = list[Compared](), list[Compared]()
    for engine in ENGINES:
        print(f"{model}, {engine.name}: predicting", file=sys.stderr)
        held_out = [case for case in engine.cases if not case.fitted]
        text = sweep_text(model, engine, held_out)
        own = limits(measured[seed(engine, held_out[0])][0].facts)
        twin = msgspec.json.encode(Twin("the points for the fit", times, own)).decode()
        predicted = swept(text, place / f"{model} {engine.name} predicted", "--set", f"engine.twin={twin}")
        calibrated += compared(engine, held_out, measured, predicted)
        if kernels is not None and engine is ENGINES[0]:
            by_kernels = swept(text, place / f"{model} {engine.name} derived", "--twin", str(kernels))
            derived += compared(engine, held_out, measured, by_kernels)
    return Accuracy(calibrated, derived, times.requests)


def compared(
    engine: Engine, cases: Iterable[Case], measured: dict[int, list[Run]], predicted: dict[int, list[Run]]
) -> Iterator[Compared]:
    for case in cases:
        of_case = seed(engine, case)
        *real, guess = (run.summary() for run in (*measured[of_case], *predicted[of_case]))
        for figure in FIGURES:
            one, again, other = (value_of(summary, figure) for summary in (*real, guess))
            found = guess.interval(figure, other)
            if one is not None and again is not None and other is not None and found is not None:
                yield Compared(engine.name, case.name, figure, one, again, other, *found)


def value_of(summary: Summary, figure: str) -> float | None:
    if figure == RATE:
        return summary.output_tokens_per_s
    name, percent = figure.split(" p")
    return next(each.percentiles_ns[int(percent)] for each in summary.latencies if each.name == name)


def verdict(rows: Sequence[Compared]) -> Iterator[str]:
    """Yield the figures that the issue names, with its aims."""
    yield "| | median error | aim | two measurements differ by |"
    yield "|---|--:|--:|--:|"
    for figure in (*AIMS, *(figure for figure in FIGURES if figure not in AIMS)):
        own = [row for row in rows if row.figure == figure]
        error, noise = (median(map(abs, values)) for values in ([r.error for r in own], [r.change for r in own]))
        aim = f"{AIMS[figure]:.1%}" if figure in AIMS else "-"
        yield f"| {figure} | {error:.1%} | {aim} | {noise:.1%} |"
    yield f"| figures inside their 90 % intervals, of {len(rows)} | {coverage(rows):.0%} | {COVERAGE:.0%} | - |"


def coverage(rows: Sequence[Compared]) -> float:
    return sum(row.inside for row in rows) / len(rows)


def every_figure(rows: Sequence[Compared]) -> Iterator[str]:
    yield "| engine | point | figure | measured | again | predicted | error | interval | |"
    yield "|---|---|---|--:|--:|--:|--:|--:|---|"
    for row in rows:
        scale, unit = (1.0, "") if row.figure == RATE else (1e-6, " ms")
        numbers = (f"{value * scale:,.4g}" for value in (row.measured, row.again, row.predicted))
        span = f"{row.low * scale:,.4g} to {row.high * scale:,.4g}{unit}"
        outside = "" if row.inside else "outside"
        cells = (row.engine, row.case, row.figure, *numbers, f"{row.error:+.1%}", span, outside)
        yield f"| {' | '.join(cells)} |"


def host_words(requests: dict[str, Price]) -> str:
    """Say what a request costs the host between steps."""
    each = " and ".join(f"{price.ns / 1e6:.2f} ms for each {name}" for name, price in requests.items())
    return f"The host's time for requests between steps, fitted: {each}."


def document(found: dict[str, Accuracy], commit: str) -> Iterator[str]:
    yield from ("# How far a twin's predictions lie from what was measured", "", MADE.format(commit=commit), "")
    every = [row for accuracy in found.values() for row in accuracy.calibrated]
    yield from ("## All models", "", *verdict(every), "", NOTES)
    for model, accuracy in found.items():
        rows = accuracy.calibrated
        yield from ("", f"## {model}", "", *verdict(rows), "", host_words(accuracy.requests), "", *every_figure(rows))
    derived = {model: accuracy.derived for model, accuracy in found.items() if accuracy.derived}
    if derived:
        yield from ("", "## Derived from measured kernels alone", "")
        for model, rows in derived.items():
            yield from (f"{model}:", "", *verdict(rows), "")
        yield DERIVED


MADE = """\
Made by `python -m tools.twin_accuracy` at {commit}: a real engine on two CPU cores, and twins of it. Step times are
fitted to six points of the plain engine, each recorded twice; the others are held out, and those with prefix caching
and short chunks run on engines that the fit never saw. Fitted and held-out points take turns in two rounds. Errors are
those of the first round's measurement."""
NOTES = """\
- No prediction can be nearer than two measurements of the same point are to each other (last column).
- An interval covers what nine of ten measurements should show: the noise of a recording, that of the fitted ones as far
  as they draw the prediction along, and what a figure scatters by itself. Where prices are known, it does
  (`tests/analysis/batch/test_interval_coverage.py`: 86 to 94 %). All figures of one point are wrong together, and
  recordings of a few minutes share the machine's state, so that the share here is a rough check.
- Steps scatter in a twin as they did in the recordings, which ITL p99 shows."""
DERIVED = """\
- Kernels in plain torch on a CPU are not those of vLLM's CPU build, which packs weights; the host, sampling and what
  lies between kernels are not in them. Their intervals are those of the measurements and cover none of that."""


def head_commit() -> str:
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the page to FILE")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL", help="models to measure")
    parser.add_argument(
        "--kernels", type=Path, metavar="FILE", help="also predict from this report of `validate --json`"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the recordings in this new folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = asked.keep or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        found = {model: model_accuracy(model, place, asked.kernels) for model in asked.models}
    page = "\n".join(document(found, head_commit())) + "\n"
    print(page, end="")
    if asked.write:
        asked.write.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
