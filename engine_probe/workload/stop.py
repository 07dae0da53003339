"""Conditions that end a measured point before all requests are answered."""

from typing import Annotated, Literal

import msgspec

from engine_probe.files.key_meaning import about
from engine_probe.workload.lengths import Positive, PositiveFloat

FIRST_CHECK_SECONDS = 30.0  # in less time, changes that last for seconds look like a steady rate
StopReason = Literal["answered", "seconds", "requests", "steady"]  # all answered, or the condition that was met first


class Steady(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """End a point once its output tokens per second are known precisely enough."""

    within: Annotated[
        float,
        about(
            "End once half the 95 % interval of the output tokens per second is within this share of it.",
            0.1,
            gt=0,
            lt=1,
        ),
    ] = 0.05
    after_seconds: Annotated[
        PositiveFloat,
        about(
            f"Duration of a point, in seconds, before its throughput is judged; at least {FIRST_CHECK_SECONDS:g}.", 60.0
        ),
    ] = 5.0


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whichever comes true first ends a point; requests in flight are aborted, so that the load is held to the end."""

    seconds: Annotated[PositiveFloat | None, about("End a point after this many seconds.", 60.0)] = None
    requests: Annotated[Positive | None, about("End a point after this many answered requests.", 200)] = None
    steady: Annotated[Steady | None, about("End a point once its throughput is known precisely enough.")] = None
