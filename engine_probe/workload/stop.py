"""When a measured point is over, other than by the last answer."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engine_probe.workload.lengths import Positive, PositiveFloat

Why = Literal["answered", "seconds", "requests", "steady"]  # all were answered, or which condition came true first


class Steady(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Once the rate of output tokens is known to within this share of itself (`engine_probe.analysis.steady`)."""

    within: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05  # half of the 95 % confidence interval
    after_seconds: PositiveFloat = 5.0  # not before


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whichever comes true first; requests in flight are then aborted, so that the load is held to the end."""

    seconds: PositiveFloat | None = None
    requests: Positive | None = None  # so many were answered
    steady: Steady | None = None
