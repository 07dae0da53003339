"""The result of one check of `engine_probe doctor`."""

from dataclasses import dataclass

FINE, NOTE, WARNING, PROBLEM = "fine", "note", "warning", "problem"
MARKS = {FINE: ("✓", "green"), NOTE: ("·", "dim"), WARNING: ("!", "yellow"), PROBLEM: ("✗", "red")}  # mark, style


@dataclass(frozen=True)
class Check:
    """One check: its state, its subject, what was found, and what to do about it."""

    state: str
    what: str
    found: str
    to_do: str = ""
