"""`docs/results/hostile.md`: a table of verdicts, one section for each command that attacks, and what is promised."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HEADER = """# Attacks on engine_probe

Each section is written by the command that it names. "-" marks what an attack cannot show.
"""
TOKENS, TRACEBACK, TABLE, HANG, OUTSIDE, LOST, OTHER = KINDS = (
    "wrong tokens", "tracebacks", "wrong tables", "hangs", "files outside", "finished work lost", "other",
)  # fmt: skip
PROMISES = """## What is promised, and what is not

Promised, and attacked above:

- The engine's tokens stay what they are, whatever happens to the probe, its files or its host.
- No error of the probe's own reaches the code inside `with Probe(...)`. What cannot be recorded at all is refused on
  entry in one sentence; what fails later ends the recording, which then says so (`incomplete`, with the reason).
- A recording that says `complete` is whole. One that was killed opens up to its last batch of rows and names the
  requests that were in flight.
- A finished point of a sweep is on disk before anybody hears of it; `--resume` neither measures it again nor changes
  it.
- A file from elsewhere is read or refused in one sentence (exit codes 0 to 3), within bounded memory, and nothing is
  written outside the output that was asked for.

Not promised:

- How old the newest rows on disk are at a `kill -9` or a power cut. The writer wakes every 0.2 s and does not call
  `fsync`; a busy machine or disk adds what it takes. The ages measured are above.
- A recording where the host refuses a thread, a file descriptor or memory: it ends early and says why. Memory may run
  out in vLLM or in the caller's code instead; that is not the probe's to prevent.
- Nothing is held against root, against a process that writes into another's memory, or against a file that is changed
  while it is read.
"""


@dataclass
class Verdict:
    """What one command came to: how many attacks, and how many things went wrong of each kind."""

    attacks: str
    wrong: Counter[str] = field(default_factory=Counter)
    unknown: Sequence[str] = ()  # kinds that such attacks cannot show

    def row(self, title: str) -> str:
        anchor = re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        cells = ["-" if kind in self.unknown else str(self.wrong[kind]) for kind in KINDS]
        return f"| [{title}](#{anchor}) | {self.attacks} | {' | '.join(cells)} |"


def command_line(module: str, words: Sequence[str]) -> str:
    return shlex.join(["python", "-m", module, *words])


def put_section(page: Path, title: str, verdict: Verdict, lines: Sequence[str]) -> None:
    """Replace the section of this title and its row of the table, or add them; what other commands wrote stays."""
    parts = re.split(r"(?m)^(?=## )", page.read_text()) if page.exists() else [""]
    rows = [row for row in parts[0].splitlines() if row.startswith("| [")]
    sections = {part.splitlines()[0].removeprefix("## "): part.strip() for part in parts[1:]}
    sections.pop(PROMISES.splitlines()[0].removeprefix("## "), None)
    sections[title] = "\n".join([f"## {title}", "", *lines]).strip()
    rows = [row for row in rows if not row.startswith(f"| [{title}]")] + [verdict.row(title)]
    rows.sort(key=lambda row: list(sections).index(row[3 : row.index("]")]))
    table = [f"| attacked | attacks | {' | '.join(KINDS)} |", f"|---|---|{'--:|' * len(KINDS)}", *rows]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join([HEADER, *table, "", "\n\n".join([*sections.values(), PROMISES.strip()]), ""]))
