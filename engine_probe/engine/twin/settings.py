"""What a twin is made from, as sweep files and `run.json` hold it."""

from __future__ import annotations

from typing import Any

import msgspec

from engine_probe.engine.twin.step_times import StepTimes


class Twin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recordings that step times come from, the times, and the limits of the engine that was recorded."""

    calibrated_from: str
    step_times: StepTimes
    limits: dict[str, Any] = {}
