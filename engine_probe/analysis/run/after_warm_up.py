"""The part of a run after its warm-up and before the last arrival, in which the engine takes in and answers requests.

It begins with the first complete answer: before it the batch only fills, after the last arrival it only empties. A
burst, in which all requests arrive before any is answered, has no such part. With enough steps, `settled_rate.py` cuts
the rest of the warm-up off, gives the throughput an interval, and tells a warm-up that goes on to the end.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.latencies import count_requests
from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.analysis.statistics.settled_rate import SLOTS, settled_rate

LEAST_STEPS = 30
LEAST_ARRIVALS = 10
NOTABLE = 0.05  # a smaller difference between the whole run and this part is not worth a word


@dataclass(frozen=True)
class AfterWarmUp:
    begin_ns: int
    end_ns: int
    since_start_s: float  # from the first step to `begin_ns`
    arrivals: int
    output_tokens_per_s: float
    half_width: float | None  # of the interval of the throughput; None if it has not settled
    changing: bool  # the throughput never settled, although there were enough steps, or is still warming up
    warm_up_left: float | None  # tokens/s that a warm-up adds at most that goes on as it began; None if not settled
    requests_per_s: float  # answers completed in this part

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9

    def differs_from(self, whole_run_per_s: float) -> bool:
        """Return whether warm-up and end move the throughput of the whole run by more than chance."""
        difference = abs(whole_run_per_s - self.output_tokens_per_s)
        return self.half_width is not None and difference > max(self.half_width, NOTABLE * self.output_tokens_per_s)

    @property
    def window(self) -> tuple[int, int]:
        return self.begin_ns, self.end_ns


def after_warm_up(
    start_ns: int, ends: Integers, output_tokens: Integers, answered: pa.Table, requests: pa.Table
) -> AfterWarmUp | None:
    """Return the part after the warm-up, given the end of each step. None if it is missing or too short."""
    begin, end = (pc.min(answered["last_token_ns"]).as_py(), pc.max(requests["arrival_ns"]).as_py())
    if begin is None or end is None or begin >= end:
        return None
    inside = slice(*np.searchsorted(ends, (begin, end), "right"))
    rate = settled_rate(begin, ends[inside], output_tokens[inside])
    changing = rate.warming_up if rate else len(ends[inside]) >= 2 * SLOTS
    begin = rate.from_ns if rate else begin
    arrivals = count_requests(within(requests, "arrival_ns", (begin, end)))
    if len(ends[inside]) < LEAST_STEPS or arrivals < LEAST_ARRIVALS:
        return None
    # Between the ends of two steps tokens count as evenly spread.
    first, last = np.interp((begin, end), ends, np.cumsum(output_tokens)).tolist()
    seconds = (end - begin) / 1e9
    return AfterWarmUp(
        begin_ns=begin,
        end_ns=end,
        since_start_s=(begin - start_ns) / 1e9,
        arrivals=arrivals,
        output_tokens_per_s=(last - first) / seconds,
        half_width=rate.half_width if rate else None,
        changing=changing,
        warm_up_left=rate.warm_up_left if rate else None,
        requests_per_s=count_requests(within(answered, "last_token_ns", (begin, end))) / seconds,
    )


def within(requests: pa.Table, column: str, window: tuple[int, int]) -> pa.Table:
    """Return the requests whose time in this column lies in the window: after its begin, up to its end."""
    when = requests[column]
    return requests.filter(pc.and_(pc.greater(when, window[0]), pc.less_equal(when, window[1])))
