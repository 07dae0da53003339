"""The points of a sweep by the driver's clock, so that those with and without the probe become pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from engine_probe.analysis.watching import Timed, pair_of
from engine_probe.sweep.result import PointResult, Row, Unwatched


def timed(rows: Iterable[Row]) -> Iterator[Timed]:
    for row in rows:
        if isinstance(row, PointResult | Unwatched) and row.driven is not None:
            yield Timed(pair_of(msgspec.to_builtins(row.point)), row.point.probe, row.driven.seconds)
