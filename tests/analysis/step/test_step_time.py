"""How long the device worked in a step, and how long it stood idle between two."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.step.step_time import DEVICE, EXECUTE, StepTime, device_idle_share

MS = 1_000_000
BUSY = np.array([10 * MS, 10 * MS, 20 * MS])


def test_a_device_that_works_30_of_40_ms_stands_idle_for_a_quarter() -> None:
    assert device_idle_share(StepTime(np.array([8 * MS, 7 * MS, 15 * MS]), DEVICE), BUSY) == pytest.approx(0.25)


def test_events_that_end_after_the_host_noticed_make_no_negative_share() -> None:
    assert device_idle_share(StepTime(BUSY + 1, DEVICE), BUSY) == 0.0


def test_without_device_times_nothing_is_said_of_it() -> None:
    assert device_idle_share(StepTime(BUSY, EXECUTE), BUSY) is None
