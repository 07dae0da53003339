"""Print how often the conclusions of engine_probe are true, measured on simulated sweeps whose truth is known."""

import argparse
import json
import os
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tools.calibration.campaign import SIMULATIONS, measure
from tools.calibration.document import section, written
from tools.calibration.simulated.sweeps import DRAINED
from tools.calibration.table import summary, tables
from tools.calibration.tally import Tally
from tools.result_page import head_commit

PROCESSES = 2


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tools.calibration", description=__doc__)
    parser.add_argument("--sweeps", type=int, default=5000, help="simulated sweeps over load (default: 5000)")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers (default: 1)")
    parser.add_argument(
        "--only", nargs="+", choices=list(SIMULATIONS), default=list(SIMULATIONS), help="the parts to run"
    )
    parser.add_argument("--processes", type=int, default=PROCESSES, help=f"at a time (default: {PROCESSES})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the counts of every row")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the tables into a section of FILE")
    parser.add_argument("--section", default="latest", help="name of that section, which is replaced (default: latest)")
    return parser


def counts(tally: Tally) -> list[dict[str, object]]:
    """Return the counts of every topic, condition and bin."""
    return [
        {"claim": topic, "condition": condition, "bin": name, **asdict(count)}
        for (topic, condition, name), count in sorted(tally.items())
    ]


def main() -> None:
    parser = arguments()
    asked = parser.parse_args()
    for option in ("sweeps", "processes"):
        if getattr(asked, option) < 1:
            parser.error(f"--{option} is {getattr(asked, option)}: at least 1 is needed")
    for file in (asked.json, asked.write):
        if file and not file.absolute().parent.is_dir():
            parser.error(f"{file} cannot be written: there is no folder {file.parent}")
    # A process has one core: without this each matrix product would start a thread for every core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    began, of_commit = time.monotonic(), head_commit() if asked.write else ""
    tally, share = measure(asked.only, asked.sweeps, asked.seed, asked.processes)
    lines = ["", *summary(tally, DRAINED), *tables(tally, DRAINED)]
    print("\n".join(lines[1:]))
    if share < 1:
        print(f"\nstopped after {share:.0%} of the simulations", file=sys.stderr)
    print(f"\n{time.monotonic() - began:.0f} s", file=sys.stderr)
    if asked.json:
        asked.json.write_text(json.dumps(counts(tally), indent=1) + "\n")
    if asked.write:
        only = "" if asked.only == [*SIMULATIONS] else f" --only {shlex.join(asked.only)}"
        command = f'`make measure-calibration ARGS="--sweeps {asked.sweeps} --seed {asked.seed}{only}"`'
        stopped = f", stopped after {share:.0%} of it" if share < 1 else ""
        text = section(asked.section, of_commit, command + stopped, lines)
        asked.write.write_text(written(asked.write.read_text() if asked.write.exists() else "", asked.section, text))


if __name__ == "__main__":
    main()
