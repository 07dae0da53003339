"""A run with a fixed number of requests reaches its load's rate until nothing is left to start, and less as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from tools.calibration.simulated.drain import draw_lengths, run_to_the_end
from tools.calibration.simulated.shapes import affine_step, linear


def test_equal_answers_that_fill_every_place_have_no_drain() -> None:
    run = run_to_the_end(linear, 4, np.full(12, 100.0))
    assert run.whole == pytest.approx(4.0)
    assert run.held == pytest.approx(4.0)


def test_the_last_answer_alone_gets_the_rate_of_one() -> None:
    # Two in flight, answers of 10 and 30 tokens, each at 1 token/s: 10 s together, then 20 s alone, 40 tokens in all.
    run = run_to_the_end(linear, 2, np.array([10.0, 30.0]))
    assert run.whole == pytest.approx(40 / 30)
    assert run.held == pytest.approx(2.0)


def test_a_request_starts_when_one_ends() -> None:
    # At 1 token/s each: one place has 10 and 20, the other 30; both end after 30 s.
    run = run_to_the_end(linear, 2, np.array([10.0, 30.0, 20.0]))
    assert run.whole == pytest.approx(2.0)


def test_while_the_load_is_held_its_throughput_is_that_of_the_load() -> None:
    rate, rng = affine_step(10.0, 1.0), np.random.default_rng(3)
    for load in (1, 4, 32):
        run = run_to_the_end(rate, load, draw_lengths(rng, 4 * load))
        assert run.held == pytest.approx(load / (10 + load))
        assert run.whole <= run.held * (1 + 1e-9)


def test_an_engine_that_never_saturates_seems_to_lose_by_its_drain() -> None:
    rng = np.random.default_rng(5)
    losses = [1 - run_to_the_end(linear, 128, draw_lengths(rng, 512)).whole / 128 for _ in range(10)]
    assert np.mean(losses) > 0.2
