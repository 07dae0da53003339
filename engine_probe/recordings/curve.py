"""The curves of an opened sweep: its points by what they share apart from the load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine_probe.analysis.curve.levels import PointFigures, cache_of, levels
from engine_probe.analysis.curve.saturation import Saturation, saturation
from engine_probe.analysis.curve.settings import curve_name
from engine_probe.analysis.run.prefix_cache import CacheLevel
from engine_probe.recordings.sweep import Swept


@dataclass(frozen=True)
class Curve:
    """Points that differ in their load alone."""

    settings: dict[str, Any]  # that set it apart from the sweep's other curves
    unit: str
    figures: list[PointFigures]
    found: Saturation

    @property
    def label(self) -> str:
        return curve_name(self.settings)

    @property
    def cache(self) -> tuple[CacheLevel, ...]:
        """What the prefix cache found at each load; empty where it is off."""
        return cache_of(self.figures)

    @property
    def worth_words(self) -> bool:
        """One level alone is a row of a table."""
        return len(self.found.levels) > 1

    def named(self, what: str) -> str:
        return f"{what} ({self.label})" if self.label else what


def curves(swept: Swept) -> list[Curve]:
    found = []
    for points in swept.curves.values():
        if all(point.unwatched for point in points):
            continue  # the driver's clock is no curve
        figures = sorted((point.figures for point in points if point.figures), key=lambda each: each.load)
        found.append(Curve(points[0].curve, points[0].unit, figures, saturation(levels(figures))))
    return found
