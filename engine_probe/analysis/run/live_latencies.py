"""TTFT and TPOT while a recording grows: the medians over the requests answered so far.

They come from the functions of the summary, so that after the last request they equal the summary's p50. Running
requests do not count.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.latencies import TTFT, answered, time_per_output_token
from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.sample import Sample

NONE: Reals = np.empty(0)


@dataclass(frozen=True)
class Medians:
    """The p50 of TTFT and TPOT over the answered requests; None if no request has a value."""

    requests: int = 0
    ttft_ns: float | None = None
    tpot_ns: float | None = None


NO_MEDIANS = Medians()  # before the first request is answered


class LiveLatencies:
    """Keeps the medians up to date with rows appended to the requests table."""

    def __init__(self) -> None:
        self._requests = 0
        self._ttft_ns, self._tpot_ns = NONE, NONE
        self._medians = NO_MEDIANS

    def add(self, rows: pa.Table) -> None:
        ended = answered(rows)
        if not ended.num_rows:
            return
        assert TTFT.of_requests is not None
        self._requests += ended.num_rows
        self._ttft_ns = np.concatenate([self._ttft_ns, values(TTFT.of_requests(ended))])
        self._tpot_ns = np.concatenate([self._tpot_ns, values(time_per_output_token(ended))])
        self._medians = Medians(self._requests, median(self._ttft_ns), median(self._tpot_ns))

    def medians(self) -> Medians:
        return self._medians


def values(column: pa.ChunkedArray) -> Reals:
    """Return the values of a column without nulls."""
    return np.asarray(pc.drop_null(column).to_numpy(), dtype=np.float64)


def median(sample: Reals) -> float | None:
    return Sample.of(sample).percentiles((50,))[0]
