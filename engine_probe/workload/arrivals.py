"""When requests arrive: what a sweep file says, and the offsets from the start that follow from it."""

from __future__ import annotations

import math
from itertools import accumulate
from random import Random
from typing import Annotated, Literal

import msgspec

from engine_probe.workload.lengths import Positive, PositiveFloat

NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="burst"):
    """Everything at once."""


class ClosedLoop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="closed_loop"):
    """So many users, each waiting for the answer before asking again: without a pause so many are always in flight.

    A user thinks before the next question (`think_seconds`, on the average where it is exponential), and asks no
    faster than every `pace_seconds`: 100 users of a request each 40 s are fewer requests at once. They begin
    evenly over `spread_seconds`, so as not to march in step.
    """

    users: Positive
    think_seconds: NotNegative = 0.0
    think: Literal["fixed", "exponential"] = "fixed"
    pace_seconds: NotNegative = 0.0
    spread_seconds: NotNegative = 0.0


class OpenLoop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="open_loop"):
    """Requests per second whatever the engine does; rate and burstiness as `vllm bench` means them.

    Intervals follow a gamma distribution of shape `burstiness` (1: a Poisson process; smaller: in clusters; inf:
    equal), stretched so that the last request arrives at count / rate.
    """

    request_rate: PositiveFloat
    burstiness: PositiveFloat = 1.0


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="constant"):
    """Requests at equal intervals, the first at once."""

    request_rate: PositiveFloat


class Ramp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="ramp"):
    """A rate that goes from one to another with the number of the request, as `vllm bench` ramps."""

    start_rate: PositiveFloat
    end_rate: PositiveFloat
    strategy: Literal["linear", "exponential"] = "linear"
    burstiness: PositiveFloat = 1.0


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="replay"):
    """At the times the trace recorded, counted from its first; at `speed` 2 twice as fast."""

    speed: PositiveFloat = 1.0


Arrivals = Burst | ClosedLoop | OpenLoop | Constant | Ramp | Replay


def offsets_seconds(arrivals: Arrivals, timestamps: list[float], chance: Random) -> list[float]:
    """When each arrives after the start; in a closed loop nobody can know. `timestamps` are the trace's, or zeros."""
    count = len(timestamps)
    match arrivals:
        case OpenLoop(rate, burstiness):
            return stretched(intervals([rate] * count, burstiness, chance), count / rate)
        case Constant(rate):
            return [number / rate for number in range(count)]
        case Ramp(start, end, strategy, burstiness):
            progress = [number / max(count - 1, 1) for number in range(count)]
            linear = strategy == "linear"
            rates = [start + (end - start) * p if linear else start * (end / start) ** p for p in progress]
            return list(accumulate(intervals(rates, burstiness, chance)))
        case Replay(speed):
            return [(timestamp - timestamps[0]) / speed for timestamp in timestamps]
        case Burst() | ClosedLoop():
            return [0.0] * count


def intervals(rates: list[float], burstiness: float, chance: Random) -> list[float]:
    """Seconds before each request."""
    if math.isinf(burstiness):
        return [1 / rate for rate in rates]
    return [chance.gammavariate(burstiness, 1 / (rate * burstiness)) if rate < math.inf else 0.0 for rate in rates]


def stretched(gaps: list[float], total_seconds: float) -> list[float]:
    """Their running sum, so that it ends where the rate says: 500 requests at 20 per second take 25 s."""
    sums = list(accumulate(gaps))
    if not sums or sums[-1] == 0:
        return sums
    return [seconds * (total_seconds / sums[-1]) for seconds in sums]


def think_seconds(arrivals: ClosedLoop, chance: Random) -> float:
    if arrivals.think == "exponential" and arrivals.think_seconds:
        return chance.expovariate(1 / arrivals.think_seconds)
    return arrivals.think_seconds
