"""A point that hangs is given up, and one that is only long is not, by a clock of the test's own."""

from __future__ import annotations

import msgspec
import pytest

from engine_probe.recordings.live_reader import Moment
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.execution.point_timeout import PointTimeout, PointTimeoutError
from engine_probe.workload.dataset_file import Dataset
from engine_probe.workload.workload_spec import WarmUp

HOUR = 3600.0
LONG = Point(EngineSection("tiny"), WorkloadSection(128, 100_000))
OF_A_FILE = Point(EngineSection("tiny"), WorkloadSection(None, 100, 1, None, Dataset("a.json", "alpaca")))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def step(number: int, idle: bool = False) -> Moment:
    return Moment(number, 1, 0, 0.5, 0, float(number), idle=idle)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_day_of_steps_is_no_reason_to_give_up(clock: Clock) -> None:
    timeout = PointTimeout(LONG, None, clock)
    for number in range(24):
        clock.now = number * 1000.0
        timeout.check(step(number))


def test_steps_that_never_end_are_given_up_by_what_was_asked(clock: Clock) -> None:
    timeout = PointTimeout(LONG, None, clock)
    for number in range(1697):
        clock.now = number * 60.0
        timeout.check(step(number))
    clock.now = 1697 * 60.0  # the first minute after 1800 + 100,000 + 128 / 20 seconds
    with pytest.raises(PointTimeoutError, match="given up after 101806 s"):
        timeout.check(step(1697))


@pytest.mark.parametrize("point", [LONG, OF_A_FILE])
def test_a_step_of_half_an_hour_is_none(clock: Clock, point: Point) -> None:
    timeout = PointTimeout(point, None, clock)
    clock.now = 1000.0
    timeout.check(step(1))
    clock.now = 2800.0
    timeout.check(step(1))
    clock.now = 2801.0
    with pytest.raises(PointTimeoutError, match="given up after 1800 s without a step"):
        timeout.check(step(1))


def test_where_nothing_is_in_flight_no_step_is_due(clock: Clock) -> None:
    timeout = PointTimeout(OF_A_FILE, None, clock)
    for hour in range(5):
        clock.now = hour * HOUR
        timeout.check(step(1, idle=True))


def test_before_the_first_step_it_waits_for_a_warm_up_alone(clock: Clock) -> None:
    warming = PointTimeout(msgspec.structs.replace(OF_A_FILE, warm_up=WarmUp(requests=5)), None, clock)
    unprobed = PointTimeout(msgspec.structs.replace(OF_A_FILE, probe=False), None, clock)
    silent = PointTimeout(OF_A_FILE, None, clock)
    clock.now = HOUR
    warming.check(None)
    unprobed.check(None)
    with pytest.raises(PointTimeoutError):
        silent.check(None)


def test_a_given_limit_is_the_only_one(clock: Clock) -> None:
    patient, hasty = PointTimeout(LONG, 1e6, clock), PointTimeout(LONG, 5.0, clock)
    clock.now = 9e5
    patient.check(step(1))
    with pytest.raises(PointTimeoutError, match="given up after 5 s"):
        hasty.check(step(1))
