"""When requests arrive: what a sweep file says, and the offsets from the start that follow from it."""

from __future__ import annotations

import math
from itertools import accumulate
from random import Random
from typing import Annotated, Literal

import msgspec

from engine_probe.schema_text import about
from engine_probe.workload.lengths import Positive, PositiveFloat

NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="burst"):
    """Everything at once."""


class ClosedLoop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="closed_loop"):
    """So many users, each of whom waits for an answer before the next question."""

    users: Annotated[Positive, about("Number of users.", 50)]
    think_seconds: Annotated[
        NotNegative, about("Seconds between an answer and the same user's next question.", 5.0)
    ] = 0.0
    think: Annotated[
        Literal["fixed", "exponential"],
        about("Whether the pause is always the same or drawn, with think_seconds as its mean.", "exponential"),
    ] = "fixed"
    pace_seconds: Annotated[NotNegative, about("A user asks no faster than once in so many seconds.", 40.0)] = 0.0
    spread_seconds: Annotated[NotNegative, about("Users begin evenly over so many seconds.", 40.0)] = 0.0


class OpenLoop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="open_loop"):
    """Requests per second whatever the engine does; rate and burstiness as in `vllm bench`.

    Intervals follow a gamma distribution of shape `burstiness`, stretched so that the last request arrives at
    count / rate.
    """

    request_rate: Annotated[PositiveFloat, about("Requests per second.", 20.0)]
    burstiness: Annotated[
        PositiveFloat,
        about(
            "How evenly they arrive: 1 is a Poisson process, below 1 comes in clusters, above 1 is more even.",
            0.5,
        ),
    ] = 1.0


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="constant"):
    """Requests at equal intervals, the first at once."""

    request_rate: Annotated[PositiveFloat, about("Requests per second.", 20.0)]


class Ramp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="ramp"):
    """A rate that goes from one value to another with the number of the request, as in `vllm bench`."""

    start_rate: Annotated[PositiveFloat, about("Requests per second at the beginning.", 1.0)]
    end_rate: Annotated[PositiveFloat, about("Requests per second at the end.", 50.0)]
    strategy: Annotated[
        Literal["linear", "exponential"], about("How the rate grows with the number of the request.", "exponential")
    ] = "linear"
    burstiness: Annotated[PositiveFloat, about("As in an open loop.", 0.5)] = 1.0


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="replay"):
    """The times that a trace recorded, counted from its first."""

    speed: Annotated[PositiveFloat, about("How much faster than recorded.", 2.0)] = 1.0


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
