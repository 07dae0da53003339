"""What engines said of a text: opened, and held against one another where they were asked the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_probe.analysis.compare.changes import Change, perplexity_change
from engine_probe.analysis.compare.perplexity import Perplexity, paired, perplexity
from engine_probe.errors import InputError
from engine_probe.perplexity.results import QUALITY_FILE, Measured, read_measured
from engine_probe.text_format import plain

POINTS_FOLDER = "points"
NAME = "perplexity"


@dataclass(frozen=True)
class TextPoint:
    """One engine and what it said of the text, or the reason why it said nothing."""

    id: str
    name: str
    measured: Measured | None
    reason: str = ""
    beside: tuple[str, ...] = ()  # the points that this engine was measured at

    def __repr__(self) -> str:
        found = self.perplexity
        return plain(f"<TextPoint {self.name}: {f'perplexity {found.value:.4g}' if found else self.why_not}>")

    @property
    def perplexity(self) -> Perplexity | None:
        return None if self.measured is None else perplexity(self.measured.window_nll, self.measured.window_tokens)

    @property
    def label(self) -> str:
        """What sets its engine apart; empty where nothing does."""
        return self.name.removeprefix(NAME).removeprefix(", ")

    @property
    def why_not(self) -> str:
        """Why it has no perplexity."""
        if self.measured is None:
            return self.reason
        lost, asked = self.measured.not_finite_tokens, sum(self.measured.window_tokens)
        return f"{lost:,} of {asked:,} tokens have no finite probability"


def open_text(folder: Path, row: dict[str, Any], others: list[dict[str, Any]]) -> TextPoint:
    """Of a row of `sweep.json`; `others` are those of the load."""
    id_, point = str(row["id"]), row["point"]
    beside = tuple(str(other["id"]) for other in others if other["point"].get("engine") == point["engine"])
    name = str(point.get("label") or NAME)
    place = folder / POINTS_FOLDER / Path(id_).name
    if not (place / QUALITY_FILE).is_file():
        return TextPoint(id_, name, None, str(row.get("reason") or "not measured"), beside)
    try:
        return TextPoint(id_, name, read_measured(place), "", beside)
    except InputError as error:
        return TextPoint(id_, name, None, str(error), beside)


def text_folder(folder: Path) -> Path | None:
    """Where `engine_probe perplexity` left what it found; None where this is no folder of its."""
    return next((place for place in (folder, folder / NAME) if (place / QUALITY_FILE).is_file()), None)


def open_alone(folder: Path) -> TextPoint:
    """What `engine_probe perplexity` wrote there."""
    place = text_folder(folder)
    if place is None:
        raise InputError(f"{folder} holds no {QUALITY_FILE}: give a folder that `engine_probe perplexity` wrote")
    return TextPoint(NAME, NAME, read_measured(place))


def changed(before: TextPoint, after: TextPoint) -> Change | str:
    """Over the same windows; or why the two cannot be compared."""
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
    """What makes two lists of windows differ."""
    if before.text_sha256 != after.text_sha256:
        return "another text"
    names = ("window", "overlap", "windows", "bos")
    told = [name for name in names if getattr(before.asked, name) != getattr(after.asked, name)]
    return f"another {' and '.join(told)}" if told else "another tokenizer, for which perplexity is another measure"
