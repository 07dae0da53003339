"""Arrival patterns of a sweep file, and the arrival times that follow from them."""

import math
from itertools import accumulate
from random import Random
from typing import Annotated, Literal

import msgspec

from engine_probe.files.key_meaning import about
from engine_probe.workload.lengths import Positive, PositiveFloat

NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="burst"):
    """All requests arrive at once."""


class ClosedLoop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="closed_loop"):
    """A fixed number of users, each of whom waits for an answer before sending the next request."""

    users: Annotated[Positive, about("Number of users.", 50)]
    think_seconds: Annotated[NotNegative, about("Seconds between an answer and the same user's next request.", 5.0)] = (
        0.0
    )
    think: Annotated[
        Literal["fixed", "exponential"],
        about("fixed: always think_seconds; exponential: drawn with that mean.", "exponential"),
    ] = "fixed"
    pace_seconds: Annotated[NotNegative, about("Minimum seconds between two requests of a user.", 40.0)] = 0.0
    spread_seconds: Annotated[NotNegative, about("Users start evenly spread over this many seconds.", 40.0)] = 0.0


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="steps"):
    """Levels of users, one after another: all of a level are answered, nobody asks for a while, the next level begins.

    `outcome.levels` in run.json holds when each level began and ended.
    """

    levels: Annotated[
        Annotated[list[Positive], msgspec.Meta(min_length=1)], about("Number of users of each level.", [1, 5])
    ]
    pause_seconds: Annotated[
        NotNegative, about("Seconds between the last answer of a level and the next level.", 5.0)
    ] = 1.0
    requests: Annotated[Positive, about("Requests of each user at each level, one after another.", 4)] = 1

    @property
    def num_requests(self) -> int:
        return sum(self.levels) * self.requests


class OpenLoop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="open_loop"):
    """A request rate independent of the engine; rate and burstiness as in `vllm bench`.

    Intervals follow a gamma distribution of shape `burstiness`, stretched so that the last request arrives at
    count / rate.
    """

    request_rate: Annotated[PositiveFloat, about("Requests per second.", 20.0)]
    burstiness: Annotated[
        PositiveFloat,
        about("Evenness of arrivals: 1 is a Poisson process, less is burstier, more is more regular.", 0.5),
    ] = 1.0


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="constant"):
    """Requests at equal intervals, starting immediately."""

    request_rate: Annotated[PositiveFloat, about("Requests per second.", 20.0)]


class Ramp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="ramp"):
    """A rate that changes from request to request between two values, as in `vllm bench`."""

    start_rate: Annotated[PositiveFloat, about("Requests per second at the beginning.", 1.0)]
    end_rate: Annotated[PositiveFloat, about("Requests per second at the end.", 50.0)]
    strategy: Annotated[
        Literal["linear", "exponential"], about("How the rate grows from request to request.", "exponential")
    ] = "linear"
    burstiness: Annotated[PositiveFloat, about("As for open_loop.", 0.5)] = 1.0


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="replay"):
    """The recorded times of a trace, relative to its first request; in sessions, those of their first requests."""

    speed: Annotated[PositiveFloat, about("Speed-up over the recorded times and pauses.", 2.0)] = 1.0


Arrivals = Burst | ClosedLoop | Steps | OpenLoop | Constant | Ramp | Replay


def offsets_seconds(arrivals: Arrivals, timestamps: list[float], chance: Random) -> list[float]:
    """Return each request's arrival after the start; zeros in a closed loop and in steps, where answers decide.

    `timestamps` are those of the trace, or zeros.
    """
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
        case Burst() | ClosedLoop() | Steps():
            return [0.0] * count


def intervals(rates: list[float], burstiness: float, chance: Random) -> list[float]:
    """Draw the seconds between each request and the one before."""
    if math.isinf(burstiness):
        return [1 / rate for rate in rates]
    return [chance.gammavariate(burstiness, 1 / (rate * burstiness)) if rate < math.inf else 0.0 for rate in rates]


def stretched(gaps: list[float], total_seconds: float) -> list[float]:
    """Add up the gaps, scaled so that the last request arrives at `total_seconds`."""
    sums = list(accumulate(gaps))
    if not sums or sums[-1] == 0:
        return sums
    return [seconds * (total_seconds / sums[-1]) for seconds in sums]


def think_seconds(arrivals: ClosedLoop, chance: Random) -> float:
    if arrivals.think == "exponential" and arrivals.think_seconds:
        return chance.expovariate(1 / arrivals.think_seconds)
    return arrivals.think_seconds
