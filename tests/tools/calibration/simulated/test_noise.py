"""Each kind of noise has the moments that it states, and is shared by what it is said to be shared by."""

from __future__ import annotations

import numpy as np
import pytest

from tools.calibration.simulated.noise import KINDS, OWN, Reals, draw_factors

LEVELS, REPEATS, SWEEPS, DEVIATION = 8, 4, 2000, 0.02


def drawn(kind: str) -> tuple[Reals, Reals]:
    """Return the relative noise of many sweeps (sweeps x levels x repeats), and what each has in common."""
    rng = np.random.default_rng(7)
    sweeps = [draw_factors(rng, kind, DEVIATION, LEVELS, REPEATS) for _ in range(SWEEPS)]
    return np.array([each.runs for each in sweeps]) - 1, np.array([each.occasion for each in sweeps]) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_root_mean_square_is_the_deviation(kind: str) -> None:
    noise, _ = drawn(kind)
    shared = kind.startswith(("shared", "drift"))
    expected = DEVIATION * np.sqrt(1 + OWN**2) if shared else DEVIATION
    assert np.sqrt((noise**2).mean()) == pytest.approx(expected, rel=0.08)
    assert abs(noise.mean()) < 0.1 * DEVIATION


def scatter(kind: str) -> float:
    """Return the deviation of repeats around the mean of their level."""
    noise, _ = drawn(kind)
    return float(np.sqrt(noise.var(axis=2, ddof=1).mean()))


def test_repeats_show_only_their_own_part_of_what_a_level_or_an_occasion_shares() -> None:
    assert scatter("independent") == pytest.approx(DEVIATION, rel=0.03)
    assert scatter("shared by a level") == pytest.approx(OWN * DEVIATION, rel=0.03)
    assert scatter("shared by the occasion") == pytest.approx(OWN * DEVIATION, rel=0.03)


def test_drift_hides_from_repeats_level_by_level_and_shows_when_interleaved() -> None:
    assert scatter("drift, level by level") < 0.6 * DEVIATION
    assert scatter("drift, interleaved") > 0.9 * DEVIATION


def test_only_an_occasion_moves_all_runs_of_a_sweep() -> None:
    for kind in KINDS:
        _, occasions = drawn(kind)
        expected = DEVIATION if kind == "shared by the occasion" else 0.0
        assert occasions.std() == pytest.approx(expected, rel=0.06), kind


def test_levels_are_unequal_and_tails_are_heavy() -> None:
    unequal, _ = drawn("unequal")
    own = unequal.std(axis=2)
    assert np.median(own.max(axis=1) / own.min(axis=1)) > 5
    heavy, _ = drawn("heavy tails")
    assert (np.abs(heavy) > 5 * DEVIATION).mean() > 1e-3  # a normal distribution: 6e-7


def test_a_sweep_of_one_run_has_no_drift() -> None:
    for kind in KINDS:
        assert draw_factors(np.random.default_rng(1), kind, DEVIATION, 1, 1).runs.shape == (1, 1)
