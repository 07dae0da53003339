"""The share of the measured ceilings that a run used (MBU and MFU), and which of them limited each step.

No run can use more than all of a device. A share above 100 % shows that the ceiling was measured too low, so nothing is
concluded from it, whatever the spread of the ceiling's samples: an unstable ceiling is the usual reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine_probe.analysis.statistics.arrays import Flags
from engine_probe.analysis.step.ceilings import Ceiling
from engine_probe.analysis.step.roofline import Roofline, RooflineRange

NEAR = 0.5  # of a step's time that a ceiling must explain to count as its limit
FREE, BY_COMPUTE, BY_MEMORY = range(3)  # the ceiling that limits a step

ALL_STEPS = "all steps"
DECODE_ONLY = "decode-only steps"
PREFILL_ONLY = "prefill-only steps"
MIXED = "mixed steps"
WITH_PREFILL = "steps with prefill"


@dataclass(frozen=True)
class Use:
    """The share of one ceiling that some of the steps used."""

    name: str  # MBU, MFU
    steps: str
    share: RooflineRange
    ceiling: Ceiling

    @property
    def is_above(self) -> bool:
        """Return whether even the lower bound is above the ceiling."""
        return self.share.least > 1

    @property
    def may_be_above(self) -> bool:
        return self.share.most > 1


def kinds(found: Roofline) -> dict[str, Flags]:
    """Return which steps decode only, prefill only, or do both, by name."""
    share = found.prefill_share
    return {DECODE_ONLY: share == 0, PREFILL_ONLY: share == 1, MIXED: (share > 0) & (share < 1)}


def uses(found: Roofline) -> Iterator[Use]:
    """Yield every share that a report shows."""
    decode = kinds(found)[DECODE_ONLY]
    parts = {ALL_STEPS: found, DECODE_ONLY: found.only(decode), WITH_PREFILL: found.only(~decode)}
    for steps, part in parts.items():
        if part is None or not part.working.any():
            continue
        if part.memory and part.bandwidth_utilisation:
            yield Use("MBU", steps, part.bandwidth_utilisation, part.memory)
        if part.compute and part.flop_utilisation:
            yield Use("MFU", steps, part.flop_utilisation, part.compute)


def above(found: Roofline) -> list[Use]:
    """Return the impossible shares, the largest first."""
    return sorted((use for use in uses(found) if use.is_above), key=lambda use: -use.share.least)


def held_up(found: Roofline) -> Any:
    """Return for every step the ceiling that surely takes longest, if it surely explains half of the step's time.

    All steps are FREE without both ceilings, or if one of them is known to be too low.
    """
    if found.memory is None or found.compute is None or above(found):
        return np.full(len(found.seconds), FREE)
    moving = found.bytes * (1 / found.memory.per_s)
    computing = found.flops * (1 / found.compute.per_s)
    enough = NEAR * found.seconds
    by_memory = (moving.least > computing.most) & (moving.least >= enough)
    by_compute = (computing.least > moving.most) & (computing.least >= enough)
    return np.select([by_memory & found.working, by_compute & found.working], [BY_MEMORY, BY_COMPUTE], FREE)
