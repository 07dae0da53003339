"""The limit of disturbed requests holds its chance, and faults in a few requests do not hide themselves."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.answers.integrity.margin_noise import disturbance_limit, stretches

REQUESTS = 200


def limit(values: np.ndarray, step: float = 1e-6) -> float:
    return disturbance_limit(values, lambda _: step, 0.0)


@pytest.mark.parametrize("step", [1e-6, 1.0])
def test_a_comparison_without_faults_seldom_has_a_value_beyond_the_limit(step: float) -> None:
    """Nominally one of two hundred has, for the exponential tail; rounded, the limit is between two values."""
    chance = np.random.default_rng(1)
    values = np.ceil(chance.exponential(1.0, (400, REQUESTS)) / step) * step
    beyond = np.mean([values.max() > limit(values, step) for values in values])
    assert beyond < 0.02


def test_bf16_logits_may_move_by_four_steps_in_one_of_a_hundred_requests() -> None:
    """The largest shifts of smollm2's requests in BF16 at concurrency 8 and 32 against 1, where nothing was planted."""
    largest = np.repeat([0.0625, 0.125, 0.1875, 0.25, 0.5], [2, 65, 6, 50, 1])
    assert limit(largest, 0.0625) > 0.5


def test_faults_in_one_of_twenty_requests_hardly_raise_the_limit() -> None:
    values = np.random.default_rng(2).exponential(1.0, REQUESTS)
    with_faults = np.concatenate([values, np.full(10, 100.0)])
    assert limit(values) > values.max()
    assert limit(with_faults) < 1.5 * limit(values)


def test_a_stretch_is_the_root_of_a_sum_of_squares_over_eight_tokens() -> None:
    together = stretches(np.array([3.0, 4.0, *[0.0] * 7]))
    assert together.tolist() == [3.0, *[5.0] * 7, 4.0]
