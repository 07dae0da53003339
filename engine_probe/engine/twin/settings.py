"""What a twin is made from, as sweep files and `run.json` hold it."""

from typing import Any

import msgspec

from engine_probe.engine.twin.drafts.acceptance import Acceptance
from engine_probe.engine.twin.step_times import StepTimes


class Twin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What step times come from, the times, and the limits of the engine that the twin stands for."""

    calibrated_from: str  # the folder of the recordings, or the GPU of the datasheet
    step_times: StepTimes
    limits: dict[str, Any] = {}
    bounds: bool = False  # by a datasheet: no step can take less
    acceptance: Acceptance | None = None  # of drafts, where the engine may have some
    refusal: str | None = None  # why this engine cannot be predicted; then nothing else counts


class Twins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The twins of a sweep of several engines, by the key of each engine's description."""

    engines: dict[str, Twin]
