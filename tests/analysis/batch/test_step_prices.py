from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.batch.step_prices import StepSample, beyond, calibrated
from engine_probe.engine.twin.step_times import TERMS, StepTimes, counts
from engine_probe.engine.twin.step_work import StepWork
from engine_probe.errors import InputError

TRUTH = np.array([4e6, 1e6, 20e3, 9e3, 30e3, 3.0, 40.0, 0.0])


def steps(number: int, seed: int, noise: float = 0.0) -> StepSample:
    """Steps of an engine whose batches differ, and whose times are the truth's on average."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        answers, prompts = int(chance.integers(1, 64)), int(chance.integers(0, 4)) * int(chance.random() < 0.3)
        tokens = sum(int(chance.integers(16, 512)) for _ in range(prompts))
        work = StepWork(
            answers + prompts,
            tokens,
            answers,
            tokens * int(chance.integers(50, 900)),
            answers * int(chance.integers(50, 900)),
        )
        found.append(counts(work))
    table = np.array(found, dtype=np.float64)
    return StepSample(table, table @ TRUTH * np.exp(chance.normal(-(noise**2) / 2, noise, number)))


def prices_of(times: StepTimes) -> np.ndarray:
    return np.array([price.ns for price in times.prices.values()])


def test_prices_without_noise_are_found() -> None:
    assert prices_of(calibrated([steps(400, 1), steps(400, 2)])) == pytest.approx(TRUTH, rel=1e-6)


@pytest.mark.lengthy  # 36 fits
def test_prices_lie_in_their_intervals() -> None:
    inside = total = 0
    for seed in range(6):
        found = calibrated([steps(500, 10 * seed + number, noise=0.1) for number in range(5)])
        inside += sum(
            abs(price.ns - true) <= price.half_width for price, true in zip(found.prices.values(), TRUTH, strict=True)
        )
        total += len(TERMS)
    assert inside / total > 0.85


def test_a_stall_changes_little() -> None:
    sample = steps(800, 3, noise=0.02)
    stalled = StepSample(sample.counts, sample.ns.copy())
    stalled.ns[400] *= 500
    work = StepWork(32, 0, 32, 0, 16_000)
    assert calibrated([stalled]).ns(work) == pytest.approx(calibrated([sample]).ns(work), rel=0.03)


@pytest.mark.lengthy
def test_the_error_is_that_of_recordings_that_were_left_out() -> None:
    """Machines that differ by a tenth from recording to recording cannot be predicted better than that."""
    chance = np.random.default_rng(5)
    samples = []
    for seed in range(12):
        sample = steps(300, seed)
        samples.append(StepSample(sample.counts, sample.ns * np.exp(chance.normal(0, 0.1))))
    found = calibrated(samples)
    assert found.recordings == 12
    assert found.error == pytest.approx(0.1, rel=0.5)
    assert calibrated([steps(1000, 1)]).error == pytest.approx(0.0, abs=1e-6)


def test_what_lies_beyond_the_recorded_steps_is_named() -> None:
    found = calibrated([steps(400, 1)])
    most = {name: price.most for name, price in found.prices.items()}
    inside, outside = (
        StepSample(np.array([counts(work)], dtype=np.float64), np.ones(1))
        for work in (StepWork(8, 0, 8, 0, 800), StepWork(200, 0, 200, 0, 800))
    )
    assert beyond([inside], most) == []
    assert beyond([inside, outside], most) == ["answer token"]
    assert beyond([outside], dict.fromkeys(most)) == []


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(InputError, match="199 recorded steps are too few"):
        calibrated([steps(199, 1)])
