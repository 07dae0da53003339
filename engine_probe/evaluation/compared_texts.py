"""Texts that both of two measurements had to predict, paired by engine and judged window by window."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from engine_probe.analysis.compare.changes import Change
from engine_probe.recordings.perplexity import TextPoint, changed


class TextChanges(NamedTuple):
    changes: dict[str, tuple[Change, float]]  # by name; with the seconds that the later took
    notes: list[str]
    missing: list[str]


def text_changes(before: Path, old: dict[str, TextPoint], after: Path, new: dict[str, TextPoint]) -> TextChanges:
    """Those that only one of them has, or that do not compare, are told."""
    found: dict[str, tuple[Change, float]] = {}
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
            found[name] = change, measured.seconds
    return TextChanges(found, notes, missing)
