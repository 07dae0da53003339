"""`docs/results/hostile.md`: one section for each command that attacks."""

from __future__ import annotations

import re
from pathlib import Path


def put_section(page: Path, title: str, lines: list[str]) -> None:
    """Replace the section of this title, or add it; what other commands wrote stays."""
    before = page.read_text() if page.exists() else "# What a hostile day does to it\n"
    section = "\n".join([f"## {title}", "", *lines]) + "\n"
    parts = re.split(r"(?m)^(?=## )", before)
    kept = [part.rstrip("\n") + "\n" for part in parts if not part.startswith(f"## {title}\n")]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join([*kept, section]))
