"""What `engine_probe doctor` answers with: one check is one line."""

from __future__ import annotations

from dataclasses import dataclass

FINE, NOTE, WARNING, PROBLEM = "fine", "note", "warning", "problem"
MARKS = {FINE: "[green]✓", NOTE: "[dim]·", WARNING: "[yellow]!", PROBLEM: "[red]✗"}


@dataclass(frozen=True)
class Check:
    """One line of the answer."""

    state: str
    what: str
    found: str
    to_do: str = ""
