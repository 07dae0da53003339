"""Simulated steps have the long-run rate and the correlation that they are given, and the real rule watches them."""

from __future__ import annotations

import numpy as np
import pytest

from tools.calibration.stops import LONGEST_S, RATE, STEP_NS, Steps, correlated, draw_steps, rate_when_stopped


def test_neighbours_are_as_alike_as_they_are_told_to_be() -> None:
    values = correlated(np.random.default_rng(1), 200_000, 20.0)
    assert values.var() == pytest.approx(1.0, rel=0.05)
    for distance in (1, 20, 40):
        alike = np.corrcoef(values[:-distance], values[distance:])[0, 1]
        assert alike == pytest.approx(np.exp(-distance / 20), abs=0.03)


def test_the_long_run_rate_is_known() -> None:
    rates = []
    for seed in range(40):
        steps = draw_steps(np.random.default_rng(seed), 200.0, 0.1, 1.0, 0.0)
        rates.append(steps.tokens.sum() / steps.ends_ns[-1] * 1e9)
    assert np.mean(rates) == pytest.approx(RATE, rel=0.002)


def test_a_warm_up_makes_the_first_steps_longer() -> None:
    slow, level = (draw_steps(np.random.default_rng(1), 20.0, 0.1, 5.0, depth) for depth in (0.5, 0.0))
    first, last = ((np.diff(slow.ends_ns) / np.diff(level.ends_ns))[place] for place in (0, -1))
    assert first == pytest.approx(1.5, abs=0.01)
    assert last == pytest.approx(1 + 0.5 * np.exp(-4), abs=0.01)


def test_the_rule_ends_an_even_run_with_its_rate() -> None:
    steps = Steps(np.arange(1, LONGEST_S * 1_000_000_000 // STEP_NS) * STEP_NS)
    stopped = rate_when_stopped(steps)
    assert stopped is not None
    assert stopped[0] == pytest.approx(RATE)
    assert stopped[1] == pytest.approx(0.0, abs=1e-6)


def test_the_rule_does_not_end_a_run_that_never_settles() -> None:
    assert rate_when_stopped(Steps(np.cumsum(np.geomspace(STEP_NS, 20 * STEP_NS, 2000)).astype(np.int64))) is None
