"""What the pages of docs/results have in common: the option that writes them, tables, and where figures come from."""

import argparse
import os
import subprocess
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path


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
    """Return the commit that is checked out. Empty where there is none."""
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def load_words() -> str:
    """Return the load of the last 1, 5 and 15 minutes, by whatever runs here."""
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())
