"""`python -m tests.hostile`: attack engine_probe with mutated files, and write what held to docs/results/hostile.md."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.progress import Progress

from tests.hostile.files.campaign import MORE_MEMORY, Outcome, campaign, jobs
from tests.hostile.page import LOST, TOKENS, command_line, put_section
from tests.hostile.table import lines, verdict

TITLE = "Files from elsewhere"
MOST_SHOWN = 40
EVERY = 250  # inputs after which a log hears of them


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--inputs", type=int, default=5_000, help="mutated inputs [5000]")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs [1]")
    parser.add_argument("--only", default="", help="kinds of files whose name holds this, as `table`")
    parser.add_argument(
        "--limit", type=float, default=120.0, help="seconds for one input through all its commands [120]"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that attack side by side [2]")
    parser.add_argument("--write", type=Path, help="write the section to this file, as docs/results/hostile.md")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # what was attacked until then is told
        signal.signal(number, signal.default_int_handler)
    console = Console(stderr=True)
    todo, began = jobs(asked.inputs, asked.seed, asked.only), monotonic()
    with tempfile.TemporaryDirectory(prefix="engine_probe-hostile-") as place, Progress(console=console) as shown:
        task = shown.add_task("mutated inputs", total=len(todo))

        def tell(outcome: Outcome) -> None:
            shown.advance(task)
            done = int(shown.tasks[task].completed)
            if not console.is_terminal and done % EVERY == 0:
                shown.console.print(f"{done:,} of {len(todo):,}")
            for failure in outcome.failures:
                shown.console.print(failure.line[:400], style="red", markup=False, highlight=False, soft_wrap=True)

        outcomes = campaign(todo, Path(place), asked.workers, asked.limit, progress=tell)
    outcomes.sort(key=lambda outcome: outcome.job.number)
    section = page_of(outcomes, len(todo), monotonic() - began)
    print("\n".join([f"# {TITLE}", "", *section]))
    if asked.write:
        put_section(asked.write, TITLE, verdict(outcomes, unknown=[TOKENS, LOST]), section)
    return 1 if any(outcome.failures for outcome in outcomes) else 0


def page_of(outcomes: list[Outcome], asked: int, seconds: float) -> list[str]:
    peak = max(outcome.peak_bytes for outcome in outcomes)
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    command = command_line("tests.hostile", sys.argv[1:])
    page = [
        f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}",
        f"in {seconds:,.0f} s, {len(outcomes):,} of {asked:,} inputs.",
        "Each input is a whole file of one kind, mutated by chance from the seed, through every command that reads it.",
        "A command may end with 0 to 3 and, where it refuses, one sentence; it may write below its output alone, and",
        f"has {MORE_MEMORY >> 30} GiB of address space (most resident: {peak / 2**20:,.0f} MiB).",
        "",
        *lines(outcomes),
    ]
    if failures:
        page += ["", "What went wrong:", "", *(f"- {failure.line[:300]}" for failure in failures[:MOST_SHOWN])]
    return page


if __name__ == "__main__":
    sys.exit(main())
