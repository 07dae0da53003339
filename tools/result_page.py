"""What the pages of docs/results have in common: the option that writes them, tables, and where figures come from."""

import argparse
import os
import subprocess
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine_probe.analysis.run.token_times import update_end_ns
from engine_probe.recordings.run import Run

ROOT = Path(__file__).parents[1]


def options(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for the tool with this docstring, which writes its page to the FILE of --write."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the page to FILE")
    return parser


def show(lines: Iterable[str], file: Path | None) -> None:
    """Print a page, and write it to the file that was named."""
    page = "\n".join(lines) + "\n"
    print(page, end="")
    if file is not None:
        file.write_text(page, encoding="utf-8")


def table(titles: Sequence[str], rows: Iterable[Iterable[object]], words: Container[int] = (0,)) -> Iterator[str]:
    """Yield a table in Markdown; the columns at the places in `words` hold text, the others figures."""
    yield f"| {' | '.join(titles)} |"
    yield f"|{'|'.join('---' if place in words else '--:' for place in range(len(titles)))}|"
    yield from (f"| {' | '.join(map(str, row))} |" for row in rows)


def head_commit() -> str:
    """Return the commit that is checked out, marked if tracked files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"


def measured_here(what: str) -> str:
    """Say when and where something was measured, with the load averages over 1, 5 and 15 minutes."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    when = f"{datetime.now(UTC):%Y-%m-%d}, commit {head_commit()}"
    return f"{when}, {what} on {os.cpu_count()} cores without a GPU, at a load of {load}"


def measured_seconds(runs: Iterable[Run]) -> float:
    """Return the time from the first step of all runs to the last one's end."""
    steps = [run.iterations for run in runs]
    end_ns = max(int(update_end_ns(iterations)[-1]) for iterations in steps)
    return (end_ns - min(iterations["start_ns"][0].as_py() for iterations in steps)) / 1e9


def host_words(facts: Mapping[str, Any]) -> str:
    """Return the processor of a recording's host, and the number of its cores."""
    host = (facts.get("hardware") or {}).get("host") or {}
    return f"{host.get('name', 'an unknown processor')}, {host.get('cores', 'an unknown number of')} cores"
