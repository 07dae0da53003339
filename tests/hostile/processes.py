"""`python -m tests.hostile.processes`: kill and starve a recording engine, run it long, and write what held."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.hostile.conditions import CONDITIONS, Held, hold
from tests.hostile.kills import KINDS, Kill, kill
from tests.hostile.long_run import Length, run_long
from tests.hostile.page import put_section
from tests.hostile.subject import build

TITLE = "Killed, starved and long-running processes"
SHORT_KILLS, FULL_KILLS = 12, 300
SHORT_STEPS, FULL_STEPS = 20_000, 3_600_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.processes", description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"{FULL_KILLS} kills and {FULL_STEPS:,} steps (an hour)")
    parser.add_argument("--kills", type=int, help=f"kills of all kinds [{SHORT_KILLS}; {FULL_KILLS} with --full]")
    parser.add_argument("--steps", type=int, help="steps of the long run")
    parser.add_argument("--seed", type=int, default=1, help="the same seed kills at the same moments [1]")
    parser.add_argument("--write", type=Path, help="write the section to this file, as docs/results/hostile.md")
    given = parser.parse_args()
    count = given.kills if given.kills is not None else FULL_KILLS if given.full else SHORT_KILLS
    steps = given.steps if given.steps is not None else FULL_STEPS if given.full else SHORT_STEPS
    engine = build()
    with tempfile.TemporaryDirectory(prefix="engine_probe-hostile-") as folder:
        place = Path(folder)
        kills, held = [], []
        for number in range(count):
            kills.append(kill(engine, KINDS[number % len(KINDS)], number, given.seed, place / f"kill-{number}"))
            tell(f"kill {number + 1} of {count} ({kills[-1].kind})", kills[-1].wrong)
        for number, name in enumerate(CONDITIONS):
            held.append(hold(engine, name, place / f"host-{number}"))
            tell(f"{name}: {held[-1].outcome}", held[-1].wrong)
        length = run_long(engine, steps, place / "long") if steps else None
    section = [*heading(), *kill_lines(kills), "", *condition_lines(held), "", *long_lines(length)]
    print("\n".join(section))
    if given.write:
        put_section(given.write, TITLE, section)
    return 1 if any(attack.wrong for attack in (*kills, *held)) else 0


def tell(what: str, wrong: list[str]) -> None:
    print(f"{what}{': WRONG: ' + '; '.join(wrong) if wrong else ''}", file=sys.stderr, flush=True)


def heading() -> list[str]:
    command = shlex.join(["python", "-m", "tests.hostile.processes", *sys.argv[1:]])
    return [
        f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}: vLLM's real",
        "engine over an executor that computes nothing, forked for each attack.",
        "",
    ]


def kill_lines(kills: list[Kill]) -> list[str]:
    lines = ["| `kill -9` while | kills | left | rows of finished requests | in flight, named | wrong |"]
    lines.append("|---|--:|---|--:|--:|--:|")
    for kind in KINDS:
        own = [attack for attack in kills if attack.kind == kind]
        left = ", ".join(f"{count} {status}" for status, count in Counter(attack.status for attack in own).items())
        finished, flying = sum(attack.finished for attack in own), sum(attack.in_flight for attack in own)
        wrong = sum(bool(attack.wrong) for attack in own)
        lines.append(f"| {kind} | {len(own)} | {left} | {finished:,} | {flying:,} | {wrong} |")
    ages = sorted(attack.lost_seconds for attack in kills if attack.status == "cut")
    if ages:
        lines += [
            "",
            f"The oldest step that a kill took was {ages[-1]:.2f} s old (median {median(ages):.2f} s): the writer",
        ]
        lines += [
            "wakes every 0.2 s, and a busy machine or disk adds what it takes. That is no bound, it was measured."
        ]
    return lines + [f"- {attack.kind} {attack.number}: {'; '.join(attack.wrong)}" for attack in kills if attack.wrong]


def condition_lines(held: list[Held]) -> list[str]:
    lines = ["| host | recording | said | wrong |", "|---|---|---|---|"]
    for one in held:
        cells = [text.replace("|", "/").replace("\n", " ")[:160] for text in (one.said, "; ".join(one.wrong))]
        lines.append(f"| {one.condition} | {one.outcome or '-'} | {cells[0].strip('[]')} | {cells[1] or '-'} |")
    return lines


def long_lines(length: Length | None) -> list[str]:
    return length.lines() if length else ["No long run."]


if __name__ == "__main__":
    sys.exit(main())
