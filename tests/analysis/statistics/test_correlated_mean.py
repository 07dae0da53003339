"""The interval of a mean holds the truth as often as it says, however long values resemble their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.statistics.correlated_mean import bases, half_width, surely_positive
from tools.calibration.stops import correlated

COUNT, RUNS = 64, 200


@pytest.mark.lengthy
@pytest.mark.parametrize("memory", [0.1, 1.0, 4.0], ids=lambda memory: f"{memory} values")
def test_the_interval_holds_the_truth(memory: float) -> None:
    rng = np.random.default_rng(1)
    draws = [100 + 10 * correlated(rng, COUNT, memory) for _ in range(RUNS)]
    held = [abs(values.mean() - 100) <= half_width(values) for values in draws]
    assert np.mean(held) >= 0.93


def test_independent_values_get_an_interval_little_wider_than_students() -> None:
    rng = np.random.default_rng(1)
    widths = [half_width(rng.standard_normal(COUNT)) for _ in range(RUNS)]
    assert 1.0 <= np.median(widths) / (2.0 / np.sqrt(COUNT)) <= 1.5


def test_a_higher_confidence_is_a_wider_interval() -> None:
    values = np.random.default_rng(1).standard_normal(COUNT)
    assert half_width(values, 0.5) < half_width(values) < half_width(values, 0.99)


def test_values_that_do_not_differ_have_an_interval_of_no_width() -> None:
    assert half_width(np.zeros(COUNT)) == 0
    assert half_width(np.full(COUNT, 5.0)) == pytest.approx(0, abs=1e-9)


@pytest.mark.lengthy
@pytest.mark.parametrize("memory", [0.1, 4.0], ids=lambda memory: f"{memory} values")
def test_values_around_zero_are_rarely_surely_positive(memory: float) -> None:
    rng = np.random.default_rng(1)
    draws = [correlated(rng, COUNT, memory) for _ in range(RUNS)]
    assert np.mean([surely_positive(values) for values in draws]) <= 0.05
    assert surely_positive(draws[0] + 10)


def test_few_values_never_tell_and_many_are_taken_together() -> None:
    assert not surely_positive(np.full(7, 1.0))
    assert surely_positive(np.full(8, 1.0))
    assert surely_positive(1 + np.random.default_rng(1).standard_normal(100_000))


def test_the_transform_keeps_lengths_and_every_spectrum_falls_from_one() -> None:
    transform, spectra = bases(COUNT)
    assert transform @ transform.T == pytest.approx(np.eye(COUNT - 1), abs=1e-9)
    assert (np.diff(spectra, axis=1) <= 0).all()
    assert (spectra <= 1).all()
