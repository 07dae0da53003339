"""Weights and certainties that are learned are those with which simulated claims are true as often as they say."""

import numpy as np
import pytest

from engine_probe.analysis.curve.growth import certainty
from engine_probe.analysis.curve.shapes import ENDS
from tools.calibration.learned import FREE, REGIONS, Learned, learn, logistic, simulated, told


def undecided(true: str, sweeps: int) -> list[Learned]:
    """Return sweeps of one level: half of the curves say plateau and end so, half overload by a cliff."""
    shares = np.zeros((len(ENDS), 1, len(REGIONS)))
    for end, kind in (("plateau", "plateau"), ("cliff", "overload")):
        shares[list(ENDS).index(end), 0, REGIONS.index(kind)] = 0.5
    return [Learned(shares, np.array([[kind == true for kind in REGIONS]]), True)] * sweeps


def test_an_end_that_is_true_in_three_of_four_cases_gets_three_times_the_weight_of_the_other() -> None:
    sweeps = undecided("plateau", 90) + undecided("overload", 30)
    weights, _ = learn(sweeps)
    ratio = weights["plateau"] / ENDS["plateau"][0] / (weights["cliff"] / ENDS["cliff"][0])
    assert ratio == pytest.approx(3, rel=0.1)
    assert weights["later slope"] == pytest.approx(ENDS["later slope"][0])


def test_what_is_true_as_often_as_it_says_stays_as_it_is_and_what_is_not_moves() -> None:
    chance = np.random.default_rng(1)
    shares = chance.uniform(0.4, 0.97, 20_000)
    assert logistic(shares, (chance.random(20_000) < shares).astype(float)) == pytest.approx((0, 1), abs=0.05)
    rarer = 1 / (1 + np.exp(0.5) * (1 / shares - 1) ** 0.8)
    assert logistic(shares, (chance.random(20_000) < rarer).astype(float)) == pytest.approx((-0.5, 0.8), abs=0.05)


def test_few_claims_move_little() -> None:
    offset, slope = logistic(np.full(3, 0.6), np.zeros(3))
    assert -0.1 < offset < 0
    assert slope == pytest.approx(1, abs=0.05)


def test_a_simulated_level_has_the_shares_and_the_truth_that_the_product_tells() -> None:
    found = simulated(0, 5)
    assert found is not None
    assert found.weighed(np.zeros(len(FREE))).sum(axis=1) == pytest.approx(np.ones(len(found.true)))
    assert found.true.any(axis=1).all()
    assert all(0.25 < share < 0.98 for _, share, _ in told(found, np.zeros(len(FREE))))
    assert simulated(7 * 12, 5) is None  # runs that drain are not among the verdicts


def test_a_certainty_rises_with_the_share_and_none_and_all_stay() -> None:
    shares = np.linspace(0, 1, 21).tolist()
    for kind in REGIONS:
        found = [certainty(kind, share) for share in shares]
        assert found == sorted(found)
        assert (found[0], found[-1]) == (0.0, 1.0)
