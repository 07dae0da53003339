"""A point ends when its rate is steady at two checks in a row, half a minute after its begin at the earliest."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.record.recorder import Recorder
from engine_probe.sweep.engine_process.steady_stop import COLLECT_NS, SteadyStop
from engine_probe.sweep.results.driver_log import Steadiness
from engine_probe.workload.stop import Steady
from tools.calibration.stops import Clock, Steps, record

STEP_NS = 20_000_000
SECOND_NS = 1_000_000_000


def watched(
    durations_ns: list[float], asked: Steady, answers_every_ns: int = SECOND_NS // 10
) -> tuple[SteadyStop, float]:
    """Let the rule watch these steps. Return it and the second at which it ended them, or they ended themselves."""
    steps = Steps(np.cumsum(durations_ns).astype(np.int64))
    recorder, clock = Recorder(), Clock()
    rule = SteadyStop(asked, recorder, clock)
    while clock.now_ns < steps.ends_ns[-1]:
        clock.now_ns += COLLECT_NS
        record(steps, clock.now_ns, recorder)
        if rule(range(0, clock.now_ns, answers_every_ns), 8):
            break
    return rule, clock.now_ns / SECOND_NS


def even(seconds: float) -> list[float]:
    return [STEP_NS] * round(seconds * SECOND_NS / STEP_NS)


@pytest.mark.parametrize(("after_seconds", "ended"), [(5.0, 37.6), (48.0, 60.0)])
def test_two_checks_in_a_row_end_an_even_point(after_seconds: float, ended: float) -> None:
    rule, seconds = watched(even(100), Steady(after_seconds=after_seconds))
    assert seconds == pytest.approx(ended, abs=0.5)
    found = rule.steadiness()
    assert found.reached
    assert found.rate is not None
    assert found.rate.output_tokens_per_s == pytest.approx(32 / 0.02)


def test_a_point_that_is_even_at_one_check_and_not_at_the_next_goes_on() -> None:
    """The second check sees seven seconds of steps of four times the length, and no cut leaves an even rest."""
    slow = [4.0 * STEP_NS] * 200
    rule, seconds = watched([*even(31), *slow, *even(50)], Steady())
    assert seconds > 60
    assert not rule.steadiness().reached or seconds > 75


def test_a_point_ends_only_when_everything_in_flight_was_answered_twice() -> None:
    rule, seconds = watched(even(100), Steady(), answers_every_ns=4 * SECOND_NS)  # 16 answers take 64 s
    assert seconds > 64
    assert rule.steadiness().reached


def test_a_point_too_short_for_a_check_has_no_rate() -> None:
    rule, _ = watched(even(20), Steady())
    assert rule.steadiness() == Steadiness(reached=False, within=0.05, rate=None)


def test_a_rate_that_wanders_slowly_is_not_called_steady() -> None:
    """A wave of 40 s whose half height is a third of the rate."""
    moments = np.arange(6000) * 0.02
    rule, _ = watched(list(STEP_NS * (1 + np.sin(2 * np.pi * moments / 40) / 3)), Steady())
    found = rule.steadiness()
    assert not found.reached
    assert found.rate is None or found.rate.relative > 0.05
