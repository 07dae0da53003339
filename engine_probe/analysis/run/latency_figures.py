"""The figures of one latency, and access to all latencies of a run by their names in `vllm bench`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine_probe.analysis.statistics.sample import Sample

PERCENTILES = (50, 90, 99)


class NearestName:
    """Suggests the nearest attribute for a misspelt one, which a notebook's traceback does not."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            near = [] if name.startswith("_") else difflib.get_close_matches(name, dir(self), n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise AttributeError(f"{type(self).__name__} has no {name!r}{hint}")


@dataclass(frozen=True)
class LatencyFigures(NearestName):
    """One latency: its number of values, mean, percentiles (None with too few values) and largest value."""

    name: str
    formula: str
    count: int
    mean_ns: float | None
    percentiles_ns: dict[int, float | None]
    largest_ns: float | None = None

    @classmethod
    def of(cls, name: str, formula: str, sample_ns: Sample) -> LatencyFigures:
        percentiles = dict(zip(PERCENTILES, sample_ns.percentiles(PERCENTILES), strict=True))
        return cls(name, formula, sample_ns.count, sample_ns.mean(), percentiles, sample_ns.largest())

    @property
    def mean_ms(self) -> float | None:
        return milliseconds(self.mean_ns)

    @property
    def p50_ms(self) -> float | None:
        return milliseconds(self.percentiles_ns[50])

    @property
    def p90_ms(self) -> float | None:
        return milliseconds(self.percentiles_ns[90])

    @property
    def p99_ms(self) -> float | None:
        return milliseconds(self.percentiles_ns[99])

    @property
    def largest_ms(self) -> float | None:
        return milliseconds(self.largest_ns)

    def __repr__(self) -> str:
        values = {"p50": self.p50_ms, "p90": self.p90_ms, "p99": self.p99_ms, "mean": self.mean_ms}
        figures = ", ".join(f"{name} {milliseconds_text(value)}" for name, value in values.items())
        return f"<{self.name}: {figures}; {self.count:,} values>"


class ByName(NearestName):
    """Gives access to each of `latencies` by its name in lower case."""

    latencies: tuple[LatencyFigures, ...]

    @property
    def ttft(self) -> LatencyFigures:
        """Time to first token."""
        return self.latency("TTFT")

    @property
    def tpot(self) -> LatencyFigures:
        """Time per output token after the first."""
        return self.latency("TPOT")

    @property
    def itl(self) -> LatencyFigures:
        """Inter-token latency."""
        return self.latency("ITL")

    @property
    def e2el(self) -> LatencyFigures:
        """End-to-end latency."""
        return self.latency("E2EL")

    @property
    def queue(self) -> LatencyFigures:
        """Time in the queue before the first step."""
        return self.latency("queue")

    @property
    def prefill(self) -> LatencyFigures:
        """Time from the first step to the first token."""
        return self.latency("prefill")

    @property
    def decode(self) -> LatencyFigures:
        """Time from the first token to the last."""
        return self.latency("decode")

    @property
    def tokens_per_s_per_user(self) -> float | None:
        """Return the decode rate of the median request, 1 / TPOT (p50): how fast a user gets tokens after the first."""
        tpot_ns = self.tpot.percentiles_ns[50]
        return 1e9 / tpot_ns if tpot_ns else None

    def latency(self, name: str) -> LatencyFigures:
        """Return the latency of this name in reports."""
        (found,) = (latency for latency in self.latencies if latency.name == name)
        return found


def milliseconds(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6


def milliseconds_text(ms: float | None) -> str:
    """Return milliseconds with four figures; "-" for None."""
    return "-" if ms is None else f"{ms:.4g} ms" if ms < 1e4 else f"{ms:,.0f} ms"
