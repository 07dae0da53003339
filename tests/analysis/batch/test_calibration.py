from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

import engine_probe
from engine_probe.analysis.batch.calibration import Recorded, calibrated_on, figures, moved, ratios
from engine_probe.analysis.batch.prediction_interval import RATE, figure_of, interval, log_widths, prices_of
from engine_probe.analysis.batch.step_prices import StepSample, every_step, predicted_ns
from engine_probe.analysis.statistics.student import quantile
from engine_probe.engine.twin.step_times import TERMS
from engine_probe.recordings.run import Run
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep


def recorded(run: Run) -> Recorded:
    return Recorded(run.facts, run.iterations, run.requests, run.workers)


@pytest.fixture
def recording(tmp_path: Path) -> Recorded:
    return recorded(engine_probe.load(write_run(tmp_path / "run", ran(8), facts())))


def busy(recording: Recorded) -> np.ndarray:
    return every_step(recording.facts, recording.iterations, recording.requests).ns


def test_steps_that_take_as_long_as_recorded_move_nothing(recording: Recorded) -> None:
    again = moved(recording, busy(recording))
    assert again.iterations.equals(recording.iterations)
    for name in ("arrival_ns", "first_token_ns", "finished_ns"):
        assert again.requests[name].to_pylist() == recording.requests[name].to_pylist()


def test_steps_that_take_twice_as_long_double_every_latency(recording: Recorded) -> None:
    before, after = figures(recording), figures(moved(recording, 2 * busy(recording)))
    assert before.keys() == after.keys() > {RATE, "TTFT p50", "TPOT p50", "E2EL p50"}
    for name, value in before.items():
        assert after[name] == pytest.approx(value * (0.5 if name == RATE else 2), rel=0.02), name


@pytest.mark.lengthy
def test_recordings_that_follow_the_prices_have_no_error(tmp_path: Path) -> None:
    runs = engine_probe.load_sweep(write_sweep(tmp_path / "swept", (1, 2, 4, 8, 16))).runs
    times = calibrated_on([recorded(run) for run in runs])
    assert times.errors["TPOT p50"].freedom == 5
    assert times.noise is not None
    assert times.noise.deviation < 0.01
    assert times.errors["TPOT p50"].deviation < 0.01
    assert times.errors[RATE].deviation < 0.01


@pytest.mark.lengthy
def test_a_machine_that_changes_between_recordings_is_their_noise_and_not_that_of_a_figure(tmp_path: Path) -> None:
    runs = engine_probe.load_sweep(write_sweep(tmp_path / "swept", (1, 2, 3, 4, 6, 8, 12, 16))).runs
    chance = np.random.default_rng(3)
    each = [recorded(run) for run in runs]
    drifting = [moved(one, busy(one) * math.exp(chance.normal(0, 0.1))) for one in each]
    times = calibrated_on(drifting)
    assert times.noise is not None
    assert 0.05 < times.noise.deviation < 0.2
    for name in (RATE, "TPOT p50", "E2EL p50"):
        assert times.errors[name].deviation < 0.03, name


def test_an_interval_grows_away_from_the_recorded_steps() -> None:
    """Recordings that draw the price of a step one way, and that of an answer's token the other."""
    prices = {"step": {"ns": 1000.0}, "answer token": {"ns": 100.0}}
    influence = [[0.0] * len(TERMS) for _ in range(2)]
    influence[0][0], influence[0][4] = 1300.0, -90.0
    influence[1][0], influence[1][4] = -300.0, 190.0
    times = {"prices": prices, "noise": {"deviation": 0.02, "freedom": 6}, "influence": influence}

    def width(answers: int) -> float:
        counts = np.zeros((50, len(TERMS)))
        counts[:, 0], counts[:, 4] = 1, answers
        return log_widths(times, StepSample(counts, np.ones(50)))[""]

    assert width(4) == pytest.approx(1.943 * 0.02 * math.sqrt(1 + (940**2 + 460**2) / 1400**2), rel=1e-3)
    assert width(32) > 1.2 * width(4)


def test_a_figure_adds_its_own_scatter_to_that_of_all_times() -> None:
    times = {"noise": {"deviation": 0.03, "freedom": 4}, "errors": {"ITL p99": {"deviation": 0.04, "freedom": 6}}}
    widths = log_widths(times, StepSample(np.ones((1, len(TERMS))), np.ones(1)))
    assert widths[""] == pytest.approx(2.132 * 0.03, rel=1e-3)
    freedom = 0.05**4 / (0.03**4 / 4 + 0.04**4 / 6)
    assert widths["ITL p99"] == pytest.approx(quantile(freedom, 0.9) * 0.05, rel=1e-3)


def test_a_figure_without_an_error_of_its_own_has_that_of_all_times() -> None:
    widths = {"": 0.1, "ITL p99": 0.5}
    assert interval(widths, "ITL p99", 100.0) == pytest.approx((100 / math.exp(0.5), 100 * math.exp(0.5)))
    assert interval(widths, "TPOT p50", 100.0) == pytest.approx((100 / math.exp(0.1), 100 * math.exp(0.1)))
    assert interval({}, "TPOT p50", 100.0) is None


def test_metrics_know_their_figure() -> None:
    assert [figure_of(name) for name in ("ttft_p50_ms", "itl_p99_ms", "requests_per_s", "peak_kv_share")] == [
        "TTFT p50",
        "ITL p99",
        RATE,
        None,
    ]


@pytest.mark.slow
def test_intervals_cover_nine_of_ten_figures_of_levels_that_were_not_fitted(tmp_path: Path) -> None:
    """Each recording has a machine of its own speed, and each step its own noise; levels between are predicted."""
    levels = (1, 2, 3, 4, 6, 8, 10, 12, 16)
    each = [recorded(run) for run in engine_probe.load_sweep(write_sweep(tmp_path / "swept", levels)).runs]
    held_out = {3, 6, 10}
    inside = total = 0
    for seed in range(40):
        chance = np.random.default_rng(seed)
        noisy = [
            moved(one, busy(one) * math.exp(chance.normal(0, 0.08)) * chance.lognormal(0, 0.1, len(busy(one))))
            for one in each
        ]
        fitted = [one for one, level in zip(noisy, levels, strict=True) if level not in held_out]
        times = calibrated_on(fitted)
        prices = [
            prices_of(part) for part in (msgspec.to_builtins(times)["prices"], msgspec.to_builtins(times)["host"])
        ]
        for clean, one, level in zip(each, noisy, levels, strict=True):
            if level not in held_out:
                continue
            steps = every_step(clean.facts, clean.iterations, clean.requests)
            guess = figures(moved(clean, predicted_ns(steps, *prices) * ratios(steps, times.scatter, seed + 1)))
            widths, real = log_widths(msgspec.to_builtins(times), steps), figures(one)
            for name in (RATE, "TTFT p50", "TPOT p50", "ITL p99", "E2EL p50"):
                if name in real and name in guess:
                    low, high = interval(widths, name, guess[name]) or (0.0, 0.0)
                    inside, total = inside + (low <= real[name] <= high), total + 1
    assert total > 400
    assert 0.86 < inside / total < 0.94
