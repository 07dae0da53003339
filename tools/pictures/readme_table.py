"""Write the first table of the README from a sweep, with when and where it was measured: `make readme-table`."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import Swept, load_sweep
from engine_probe.report.document import cell_words
from engine_probe.report.sections.sweep.levels import level_tables
from tools.result_page import ROOT, host_words, measured_seconds, table

README = ROOT / "README.md"
SHOWN = ("concurrent requests", "output tokens/s", "TTFT p50", "waiting peak", "KV peak", "prefix cache hit", "region")
BLOCK = re.compile(r"^\| concurrent requests \|.*\n(?:\|.*\n)+\nMeasured on .*\n", re.MULTILINE)


def lines(swept: Swept) -> Iterator[str]:
    """Yield the shown columns of the levels, and a line on the measurement."""
    (levels,) = level_tables(curves(swept.points))
    titles = [column.title for column in levels.columns]
    places = [place for place, title in enumerate(titles) if title.startswith(SHOWN)]
    rows = ([cell_words(row[place]) for place in places] for row in levels.rows)
    yield from (*table([titles[place] for place in places], rows, words=(len(places) - 1,)), "")
    facts = swept.runs[0].facts
    day = f"{datetime.fromtimestamp(facts['clock']['wall_ns'] / 1e9, UTC):%Y-%m-%d}"
    took = f"the points took {measured_seconds(swept.runs):.0f} s"
    yield f"Measured on {day}: {swept.runs[0].model_name}, {host_words(facts)}; {took}."


def main(words: list[str]) -> int:
    swept = load_sweep(Path(words[0]))
    text, count = BLOCK.subn(lambda _: "\n".join(lines(swept)) + "\n", README.read_text(encoding="utf-8"))
    if count != 1:
        print(f"readme_table: {README} has {count} tables of a sweep, expected one", file=sys.stderr)
        return 1
    README.write_text(text, encoding="utf-8")
    print("\n".join(lines(swept)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
