"""Rows of a sweep as one point each would give them."""

from __future__ import annotations

from typing import Any

import msgspec

from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.results.point_results import PointResult


def point(concurrency: int, also: str = "") -> Point:
    return Point(EngineSection("tiny"), WorkloadSection(32, 64, concurrency), label=f"{also}concurrency {concurrency}")


def result(concurrency: int, rate: float, **changes: Any) -> PointResult:
    """Ten seconds at `rate`, with room for everybody."""
    plain = PointResult(
        id=f"point-{concurrency}",
        point=point(concurrency),
        status="complete",
        iterations=64,
        seconds=10.0,
        output_tokens=int(rate * 10),
        recomputed_tokens=0,
        recomputed_share=0.0,
        preemptions=0,
        mean_running=float(concurrency),
        peak_running=concurrency,
        peak_waiting=0,
        peak_kv_share=concurrency / 20,
        median_ttft_seconds=0.1,
        limited_by={"model": 1.0},
    )
    return msgspec.structs.replace(plain, **changes)
