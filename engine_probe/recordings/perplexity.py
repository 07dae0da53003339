"""Opened perplexity results, and their comparison if they scored the same windows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_probe.analysis.compare.changes import Change, perplexity_change
from engine_probe.analysis.compare.perplexity import Perplexity, paired, perplexity
from engine_probe.errors import InputError
from engine_probe.perplexity.text_scores import QUALITY_FILE, Measured, read_measured
from engine_probe.text_format import plain

POINTS_FOLDER = "points"
NAME = "perplexity"
ABSENT = re.compile(r"(?<= )None(?=,|$)")  # as older sweeps wrote a value that is not set


@dataclass(frozen=True)
class TextPoint:
    """The perplexity result of one engine, or the reason why there is none."""

    id: str
    name: str
    measured: Measured | None
    reason: str = ""
    beside: tuple[str, ...] = ()  # ids of the points measured on the same engine

    def __repr__(self) -> str:
        found = self.perplexity
        return plain(f"<TextPoint {self.name}: {f'perplexity {found.value:.4g}' if found else self.why_not}>")

    @property
    def perplexity(self) -> Perplexity | None:
        return None if self.measured is None else perplexity(self.measured.window_nll, self.measured.window_tokens)

    @property
    def word_perplexity(self) -> float | None:
        """Return the perplexity per word. None unless it was asked for, and if there is no perplexity."""
        found, words = self.perplexity, None if self.measured is None else self.measured.words
        return None if found is None or words is None else found.per_word(words)

    @property
    def label(self) -> str:
        """Name the engine by the settings in which it differs; empty if it does not."""
        return self.name.removeprefix(NAME).removeprefix(", ")

    @property
    def why_not(self) -> str:
        """Return why there is no perplexity."""
        if self.measured is None:
            return self.reason
        lost, asked = self.measured.not_finite_tokens, sum(self.measured.window_tokens)
        return f"{lost:,} of {asked:,} tokens have no finite probability"


def point_folder(row: Mapping[str, Any]) -> Path:
    """Return where a row of `sweep.json` has its recording; in older sweeps the folder has the name of its id."""
    return Path(POINTS_FOLDER) / Path(str(row.get("folder") or row["id"])).name


def open_text(folder: Path, row: dict[str, Any], others: list[dict[str, Any]]) -> TextPoint:
    """Open the result of a perplexity row of `sweep.json`; `others` are the rows of load."""
    id_, point = str(row["id"]), row["point"]
    beside = tuple(str(other["id"]) for other in others if other["point"].get("engine") == point["engine"])
    name = ABSENT.sub("none", str(point.get("label") or NAME))
    place = folder / point_folder(row)
    if not (place / QUALITY_FILE).is_file():
        return TextPoint(id_, name, None, str(row.get("reason") or "not measured"), beside)
    try:
        return TextPoint(id_, name, read_measured(place), "", beside)
    except InputError as error:
        return TextPoint(id_, name, None, str(error), beside)


def text_folder(folder: Path) -> Path | None:
    """Return this folder or its `perplexity`, whichever holds a perplexity result. None if neither does."""
    return next((place for place in (folder, folder / NAME) if (place / QUALITY_FILE).is_file()), None)


def open_alone(folder: Path) -> TextPoint:
    """Open the result that `engine_probe perplexity` wrote to a folder."""
    place = text_folder(folder)
    if place is None:
        raise InputError(f"{folder} holds no {QUALITY_FILE}: give a folder that `engine_probe perplexity` wrote")
    return TextPoint(NAME, NAME, read_measured(place))


def changed(before: TextPoint, after: TextPoint) -> Change | str:
    """Return the change over the same windows, or why the two cannot be compared."""
    was, now = before.measured, after.measured
    if was is None or now is None:
        return (before if was is None else after).reason
    if was.windows_sha256 != now.windows_sha256:
        return f"not the same tokens: {difference(was, now)}"
    pairs = paired(was.window_nll, now.window_nll, was.window_tokens)
    if pairs is None or before.perplexity is None or after.perplexity is None:
        return (after if before.perplexity else before).why_not
    return perplexity_change(before.perplexity, after.perplexity, pairs)


def difference(before: Measured, after: Measured) -> str:
    """Return why two lists of windows differ."""
    if before.text_sha256 != after.text_sha256:
        return "another text"
    names = ("window", "overlap", "windows", "bos", "per")
    changed_names = [name for name in names if getattr(before.asked, name) != getattr(after.asked, name)]
    if changed_names:
        return f"another {' and '.join(changed_names)}"
    return "another tokenizer, for which perplexity is another measure"
