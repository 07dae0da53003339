"""Perplexities of two measurements, paired by engine and compared window by window."""

from pathlib import Path
from typing import NamedTuple

from engine_probe.analysis.compare.changes import Change
from engine_probe.recordings.perplexity import TextPoint, changed


class TextChanges(NamedTuple):
    changes: dict[str, tuple[Change, float]]  # by name, with the seconds that the later measurement took
    notes: list[str]
    missing: list[str]  # names that are in both and cannot be compared


def text_changes(before: Path, old: dict[str, TextPoint], after: Path, new: dict[str, TextPoint]) -> TextChanges:
    """Compare the texts by name; note those that only one side has, and those that cannot be compared."""
    changes: dict[str, tuple[Change, float]] = {}
    notes, missing = [], []
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new:
            notes.append(f"only in {before if name in old else after}: {name}")
            continue
        change = changed(old[name], new[name])
        measured = new[name].measured
        if isinstance(change, str):
            notes.append(f"{name} is not compared: {change}")
            missing.append(name)
        elif measured is not None:
            changes[name] = change, measured.seconds
    return TextChanges(changes, notes, missing)
