"""The curves of an opened sweep: points with the same settings except the load."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from engine_probe.analysis.batch.left_graphs import LeftGraphs, left_graphs
from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.curve.levels import PointFigures, by_load, cache_of, levels, load_notes, whole_run_rate
from engine_probe.analysis.curve.saturation import Saturation, kv_saturation, saturation
from engine_probe.analysis.run.prefix_cache import CacheLevel
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.recordings.sweep_point import SweptPoint


@dataclass(frozen=True)
class Curve:
    """Points that differ only in their load."""

    settings: dict[str, Any]  # in which it differs from the sweep's other curves
    unit: str
    figures: list[PointFigures]
    found: Saturation

    @property
    def label(self) -> str:
        return curve_name(self.settings)

    @property
    def cache(self) -> tuple[CacheLevel, ...]:
        """Return the prefix cache's hits at each load; empty if it is off."""
        return cache_of(self.figures)

    @property
    def left_graphs(self) -> LeftGraphs | None:
        """Return where decode steps outgrow the CUDA graphs. None if the levels do not show it."""
        uses = {same[0].load: [each.graphs for each in same] for same in by_load(self.figures)}
        return left_graphs(uses, self.found)

    @property
    def has_cache_hits(self) -> bool:
        return any(point.summary.prefix_cache and point.summary.prefix_cache.share for point in self.figures)

    @property
    def slo(self) -> Slo | None:
        return next((point.summary.goodput.slo for point in self.figures if point.summary.goodput), None)

    @property
    def worth_words(self) -> bool:
        """Return whether there are several levels; a single one is only a row of a table."""
        return len(self.found.levels) > 1

    def named(self, what: str) -> str:
        return f"{what} ({self.label})" if self.label else what


def points_by_curve(points: Iterable[SweptPoint]) -> dict[str, list[SweptPoint]]:
    """Return the points of each curve by the curve's name, in the sweep's order."""
    return grouped(points, lambda point: point.label)


def curves(points: Iterable[SweptPoint]) -> list[Curve]:
    """Return the curves of recorded points; points without the probe make no curve."""
    swept = []
    for alike in points_by_curve(points).values():
        if all(point.unprobed for point in alike):
            continue
        figures = sorted((point.figures for point in alike if point.figures), key=lambda each: each.load)
        found, everywhere = saturation(levels(figures)), levels(figures, whole_run_rate)
        # Whether the pool was full is known of levels that take no part in the fit, too.
        found = replace(found, notes=(*found.notes, *load_notes(figures)), kv=kv_saturation(everywhere))
        swept.append(Curve(alike[0].curve, alike[0].unit, figures, found))
    return swept
