"""`python -m tests.hostile.processes`: kill and starve a recording engine, run it long, and write what held."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from tests.hostile.page import OUTSIDE, TOKENS, Verdict, command_line, put_section
from tests.hostile.processes.conditions import CONDITIONS
from tests.hostile.processes.hosts import NOT_POSSIBLE, Held, hold
from tests.hostile.processes.kills import KINDS, Kill, kill
from tests.hostile.processes.long_run import run_long
from tests.hostile.processes.subject import build

MODULE = "tests.hostile.processes"
Part = Callable[[Any, argparse.Namespace, Path], tuple[str, Verdict, list[str]]]


def kills(engine: Any, given: argparse.Namespace, place: Path) -> tuple[str, Verdict, list[str]]:
    attacks: list[Kill] = []
    for number in range(given.kills):
        attacks.append(kill(engine, KINDS[number % len(KINDS)], number, given.seed, place / f"kill-{number}"))
        tell(f"kill {number + 1} of {given.kills} ({attacks[-1].kind}, {attacks[-1].status})", attacks[-1].wrong)
    total = sum(attack.kills for attack in attacks)
    verdict = Verdict(f"{total:,} kills in {len(attacks):,} attacks", count(attacks), unknown=[TOKENS])
    return "Killed processes", verdict, kill_lines(attacks)


def hosts(engine: Any, given: argparse.Namespace, place: Path) -> tuple[str, Verdict, list[str]]:
    held: list[Held] = []
    for number, name in enumerate(name for name in CONDITIONS if not given.only or name in given.only.split(";")):
        held.append(hold(engine, name, place / f"host-{number}"))
        tell(f"{name}: {held[-1].outcome} {held[-1].said}", held[-1].wrong)
    possible = [one for one in held if one.outcome != NOT_POSSIBLE]
    return "Starved hosts", Verdict(f"{len(possible)} conditions", count(held)), condition_lines(held)


def long(engine: Any, given: argparse.Namespace, place: Path) -> tuple[str, Verdict, list[str]]:
    length = run_long(engine, given.steps, given.minutes * 60, place / "long")
    tell(f"{length.steps:,} steps: {length.status}", length.wrong)
    attacks = f"{length.steps:,} steps in {length.seconds / 60:.0f} minutes"
    verdict = Verdict(attacks, count([length]), unknown=[TOKENS, OUTSIDE])
    return "A long run", verdict, length.lines()


PARTS: dict[str, Part] = {"kills": kills, "hosts": hosts, "long": long}


def main() -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("parts", nargs="*", help="kills, hosts, long [all three]")
    parser.add_argument("--kills", type=int, default=300, help="attacks of all kinds [300]")
    parser.add_argument("--only", default="", help="only these hosts, with ; between them")
    parser.add_argument("--steps", type=int, default=3_600_000, help="most steps of the long run [3600000]")
    parser.add_argument("--minutes", type=float, default=180.0, help="most minutes of the long run [180]")
    parser.add_argument("--seed", type=int, default=1, help="the same seed kills at the same moments [1]")
    parser.add_argument("--write", type=Path, help="write a section for each part to this file")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}: give {', '.join(PARTS)}")
    engine, failed = build(), False
    for name in given.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="engine_probe-hostile-") as folder:
            title, verdict, lines = PARTS[name](engine, given, Path(folder))
        lines = [*heading(), *lines]
        print("\n".join([f"## {title}", "", *lines, ""]), flush=True)
        if given.write:
            put_section(given.write, title, verdict, lines)
        failed |= bool(verdict.wrong.total())
    return int(failed)


def count(attacks: Sequence[Any]) -> Counter[str]:
    return Counter(kind for attack in attacks for kind, _ in attack.wrong)


def tell(what: str, wrong: list[tuple[str, str]]) -> None:
    told = "; ".join(f"{kind}: {text}" for kind, text in wrong)
    print(f"{what}{': WRONG: ' + told if told else ''}", file=sys.stderr, flush=True)


def heading() -> list[str]:
    return [
        f"Made by `{command_line(MODULE, sys.argv[1:])}` on {datetime.now(UTC):%Y-%m-%d} with Python",
        f"{platform.python_version()}: vLLM's real engine over an executor that computes nothing, forked for each",
        "attack.",
        "",
    ]


def kill_lines(attacks: list[Kill]) -> list[str]:
    lines = ["| `kill -9` while | attacks | kills | left | rows of finished work | in flight, named | wrong |"]
    lines.append("|---|--:|--:|---|--:|--:|--:|")
    for kind in KINDS:
        own = [attack for attack in attacks if attack.kind == kind]
        left = ", ".join(f"{number} {status}" for status, number in Counter(attack.status for attack in own).items())
        numbers = (sum(attack.finished for attack in own), sum(attack.in_flight for attack in own))
        cells = [len(own), sum(attack.kills for attack in own), left, *numbers, sum(bool(one.wrong) for one in own)]
        lines.append(f"| {kind} | {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in cells)} |")
    lines += [
        "",
        "Attacks of `resume` kill a sweep of four points, kill its resumption, and let a third run come to its end. An",
        "attack whose process had come to its end before the kill counts no kill.",
    ]
    ages = sorted(attack.lost_seconds for attack in attacks if attack.status == "cut")
    if ages:
        lines += [
            f"The oldest step that a kill took was {ages[-1]:.2f} s old (median {median(ages):.2f} s): the writer",
            "wakes every 0.2 s, and a busy machine or disk adds what it takes. That is no bound, it was measured.",
        ]
    return lines + wrong_lines((f"{one.kind} {one.number}", one.wrong) for one in attacks)


def condition_lines(held: list[Held]) -> list[str]:
    lines = ["| host | recording | said | wrong |", "|---|---|---|--:|"]
    for one in held:
        said = one.said.replace("|", "/").replace("\n", " ")[:160]
        lines.append(f"| {one.condition} | {one.outcome or '-'} | {said or '-'} | {len(one.wrong)} |")
    return lines + wrong_lines((one.condition, one.wrong) for one in held)


def wrong_lines(attacks: Any) -> list[str]:
    lines = [f"- {name}: {kind}: {text}" for name, wrong in attacks for kind, text in wrong]
    return ["", "What went wrong:", "", *lines] if lines else []


if __name__ == "__main__":
    sys.exit(main())
