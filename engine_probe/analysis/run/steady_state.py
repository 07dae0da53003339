"""The part of a run in which the engine both took in and answered requests, apart from warm-up and draining.

From the moment at which the first answer was whole to the last arrival: before it the batch only fills, after it the
batch only empties. A burst, in which all arrive before any is answered, has no such part. Where there are steps enough,
what is still warm-up is cut off its beginning, and its throughput has an interval; both are worked out in
`settled_rate.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.statistics.settled_rate import SLOTS, settled_rate

LEAST_STEPS = 30
LEAST_ARRIVALS = 10

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SteadyState:
    begin_ns: int
    end_ns: int
    since_start_s: float  # from the first step to its begin
    arrivals: int
    output_tokens_per_s: float  # tokens that came in it
    half_width: float | None  # of the 95 % interval of that; None where it is not known
    changing: bool  # no part of it was steady
    requests_per_s: float  # answers that became whole in it

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9

    @property
    def window(self) -> tuple[int, int]:
        return self.begin_ns, self.end_ns


def steady_state(
    start_ns: int, ends: Integers, output_tokens: Integers, answered: pa.Table, requests: pa.Table
) -> SteadyState | None:
    """None where the run has no such part, or too short a one to say anything of it.

    `ends`: of each step; `answered`: those of `requests` that were.
    """
    begin, end = (pc.min(answered["last_token_ns"]).as_py(), pc.max(requests["arrival_ns"]).as_py())
    if begin is None or end is None or begin >= end:
        return None
    inside = slice(*np.searchsorted(ends, (begin, end), "right"))
    rate = settled_rate(begin, ends[inside], output_tokens[inside])
    changing = rate is None and len(ends[inside]) >= 2 * SLOTS
    begin = rate.from_ns if rate else begin
    arrivals = within(requests, "arrival_ns", (begin, end)).num_rows
    if len(ends[inside]) < LEAST_STEPS or arrivals < LEAST_ARRIVALS:
        return None
    # Between the ends of two steps tokens count as if they came evenly.
    first, last = np.interp((begin, end), ends, np.cumsum(output_tokens)).tolist()
    seconds = (end - begin) / 1e9
    return SteadyState(
        begin_ns=begin,
        end_ns=end,
        since_start_s=(begin - start_ns) / 1e9,
        arrivals=arrivals,
        output_tokens_per_s=(last - first) / seconds,
        half_width=rate.half_width if rate else None,
        changing=changing,
        requests_per_s=within(answered, "last_token_ns", (begin, end)).num_rows / seconds,
    )


def within(requests: pa.Table, column: str, window: tuple[int, int]) -> pa.Table:
    """The requests to which it happened after the window's begin, and up to its end."""
    when = requests[column]
    return requests.filter(pc.and_(pc.greater(when, window[0]), pc.less_equal(when, window[1])))
