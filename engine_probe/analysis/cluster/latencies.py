"""The latencies of all requests of several engines."""

from collections.abc import Sequence

import pyarrow as pa

from engine_probe.analysis.run.latencies import LATENCIES, answered
from engine_probe.analysis.run.latency_figures import LatencyFigures
from engine_probe.analysis.run.token_times import TimeSpan
from engine_probe.analysis.statistics.sample import Sample

Tables = tuple[pa.Table, pa.Table, TimeSpan | None]  # iterations, measured requests, the span of a profiler


def latencies_of_all(engines: Sequence[Tables]) -> tuple[LatencyFigures, ...]:
    """Return every latency over the answered requests of all engines together."""
    whole = [(iterations, answered(requests), profiled) for iterations, requests, profiled in engines]
    return tuple(
        LatencyFigures.of(
            latency.name, latency.formula, Sample.joined([latency.sample_ns(*tables) for tables in whole])
        )
        for latency in LATENCIES
    )
