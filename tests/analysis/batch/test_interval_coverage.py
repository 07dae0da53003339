"""Whether intervals hold what they say, in simulation: prices are known, recordings differ by a known noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from engine_probe.analysis.batch.prediction_interval import interval, log_widths, prices_of
from engine_probe.analysis.batch.step_prices import StepSample, calibrated
from engine_probe.engine.twin.step_times import counts
from engine_probe.engine.twin.step_work import StepWork

TRUTH = np.array([4e6, 1e6, 20e3, 9e3, 30e3, 3.0, 40.0, 0.0])
BUDGET = 512
SIMULATIONS = 300


class Load(NamedTuple):
    users: int
    prompt: int
    answer: int
    waves: int  # all users ask at once


RECORDED = (Load(1, 64, 24, 8), Load(4, 64, 32, 4), Load(16, 64, 32, 2), Load(4, 192, 16, 3), Load(8, 24, 64, 2))
HELD_OUT = (Load(2, 64, 32, 6), Load(8, 64, 32, 3), Load(12, 64, 32, 2), Load(6, 128, 24, 3), Load(3, 32, 96, 2))
FEW, MANY = RECORDED[:4], (*RECORDED, Load(2, 64, 32, 6), Load(10, 96, 16, 2), Load(6, 32, 32, 3))


class Machine(NamedTuple):
    """How much the logarithms of times scatter."""

    recordings: float  # of a whole recording
    steps: float
    starts: float = 0.0  # of all recordings since one start of the engine


def steps_of(load: Load) -> np.ndarray:
    """The counts of a load's steps: prompts as the budget admits them, then answers."""
    users, prompt, answer, waves = load
    works = []
    for _ in range(waves):
        running = 0
        while running < users:
            new = min(users - running, BUDGET // prompt)
            pairs = new * prompt * (prompt + 1) // 2
            works.append(StepWork(new + running, new * prompt, running, pairs, running * (prompt + 1)))
            running += new
        works += [StepWork(users, 0, users, 0, users * (prompt + place + 1)) for place in range(answer)]
    return np.array([counts(work) for work in works], dtype=np.float64)


def recording(load: Load, machine: Machine, chance: np.random.Generator, since: float = 0.0) -> StepSample:
    """Record a load; `since` is how much slower everything is since this start of the engine."""
    table = steps_of(load)
    noise = (
        since + chance.normal(0, machine.recordings) + chance.normal(-(machine.steps**2) / 2, machine.steps, len(table))
    )
    return StepSample(table, table @ TRUTH * np.exp(noise))


def covered(loads: Sequence[Load], machine: Machine, seed: int) -> list[bool]:
    """Fit one simulated calibration; return for each held-out load whether its whole time is in its interval."""
    chance = np.random.default_rng(seed)
    times = msgspec.to_builtins(calibrated([recording(load, machine, chance) for load in loads]))
    found = []
    for load in HELD_OUT:
        sample = recording(load, machine, chance)
        guess = float((sample.counts @ prices_of(times["prices"])).sum())
        low, high = interval(log_widths(times, sample), "", guess) or (0.0, 0.0)
        found.append(low <= sample.ns.sum() <= high)
    return found


def covered_elsewhere(number: int, machine: Machine, seed: int) -> list[bool]:
    """Fit recordings since so many starts; return the same for held-out loads that are recorded since another start."""
    chance = np.random.default_rng(seed)
    samples, starts = list[StepSample](), list[int]()
    for start in range(number):
        since = chance.normal(0, machine.starts)
        samples += [recording(load, machine, chance, since) for load in RECORDED]
        starts += [start] * len(RECORDED)
    times = msgspec.to_builtins(calibrated(samples, starts))
    found = []
    since = chance.normal(0, machine.starts)
    for load in HELD_OUT:
        sample = recording(load, machine, chance, since)
        guess = float((sample.counts @ prices_of(times["prices"])).sum())
        low, high = interval(log_widths(times, sample), "", guess) or (0.0, 0.0)
        found.append(low <= sample.ns.sum() <= high)
    return found


@pytest.mark.slow  # 100 calibrations, each with as many fits as recordings
@pytest.mark.parametrize("number", [3, 5])
@pytest.mark.parametrize("starts", [0.0, 0.1])
def test_where_starts_differ_their_difference_is_in_the_interval(number: int, starts: float) -> None:
    found = [inside for seed in range(100) for inside in covered_elsewhere(number, Machine(0.05, 0.1, starts), seed)]
    assert 0.84 <= np.mean(found) <= 0.97


def test_recordings_of_one_start_say_nothing_of_others() -> None:
    chance = np.random.default_rng(1)
    samples = [recording(load, Machine(0.05, 0.1), chance) for load in RECORDED]
    assert calibrated(samples, [0] * len(samples)).starts is None
    assert calibrated(samples) == calibrated(samples, [0] * len(samples))


@pytest.mark.slow  # up to nine fits for each of 300 calibrations
@pytest.mark.parametrize(
    ("loads", "machine"),
    [
        (RECORDED, Machine(0.06, 0.1)),
        (RECORDED, Machine(0.04, 0.2)),
        (RECORDED, Machine(0.2, 0.1)),
        (FEW, Machine(0.06, 0.1)),
        (MANY, Machine(0.06, 0.1)),
    ],
    ids=["usual", "noisy steps", "noisy machine", "four recordings", "eight recordings"],
)
def test_nine_of_ten_measurements_lie_in_their_intervals(loads: Sequence[Load], machine: Machine) -> None:
    found = [inside for seed in range(SIMULATIONS) for inside in covered(loads, machine, seed)]
    assert 0.86 <= np.mean(found) <= 0.94


def test_an_interval_is_as_wide_as_the_machine_is_noisy() -> None:
    chance = np.random.default_rng(1)
    widths = []
    for noise in (0.01, 0.1):
        machine = Machine(noise, 0.0)
        times = msgspec.to_builtins(calibrated([recording(load, machine, chance) for load in MANY]))
        widths.append(log_widths(times, recording(HELD_OUT[1], machine, chance))[""])
    assert widths[1] > 4 * widths[0]
    assert widths[1] == pytest.approx(2.0 * 0.1 * 1.1, rel=0.6)
