"""Odds ratios over strata: known values, no false alarms, and power."""

import math

import numpy as np
import pytest

from engine_probe.analysis.statistics import matched_odds as matched_odds_module
from engine_probe.analysis.statistics.matched_odds import (
    Stratum,
    informative,
    log_likelihood,
    matched_odds,
    shuffled_p,
)
from tests.support.samples import some_and_all


def stratum(exposures: list[float], events: list[int]) -> Stratum:
    return Stratum(np.array(exposures, dtype=float), np.array(events, dtype=bool))


def pairs(exposed: int, unexposed: int) -> list[Stratum]:
    """Return pairs of an exposed and an unexposed one, of which so many times the one or the other had the event."""
    return [stratum([1, 0], [1, 0])] * exposed + [stratum([1, 0], [0, 1])] * unexposed


def test_matched_pairs_give_the_ratio_of_discordant_pairs() -> None:
    found = matched_odds(pairs(12, 4))
    assert found is not None
    assert found.ratio == pytest.approx(3.0, rel=1e-4)
    assert found.low < 3 < found.high
    assert (found.events, found.strata) == (16, 16)


def test_the_p_of_matched_pairs_is_that_of_the_sign_test() -> None:
    exact = 2 * sum(math.comb(16, count) for count in range(5)) / 2**16
    assert shuffled_p(pairs(12, 4)) == pytest.approx(exact, abs=0.01)


def test_several_events_in_a_stratum_have_their_exact_likelihood() -> None:
    """A two-by-two table: the conditional estimate of 3 of 4 exposed against 1 of 4 unexposed, from its definition."""
    found = matched_odds([stratum([1] * 4 + [0] * 4, [1, 1, 1, 0, 1, 0, 0, 0])])
    assert found is not None
    ways = [math.comb(4, count) * math.comb(4, 4 - count) for count in range(5)]
    expected = sum(count * way * found.ratio**count for count, way in enumerate(ways))
    total = sum(way * found.ratio**count for count, way in enumerate(ways))
    assert expected / total == pytest.approx(3.0, abs=1e-3)


def test_large_strata_have_the_same_likelihood_as_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(2)
    strata = [Stratum(chance.integers(0, 4, 14) / 2, chance.random(14) < 0.3) for _ in range(20)]
    small = log_likelihood(informative(strata))
    monkeypatch.setattr(matched_odds_module, "SMALL", 2)
    large = log_likelihood(informative(strata))
    for effect in (-2.0, 0.0, 0.7):
        assert large(effect) == pytest.approx(small(effect))


def test_events_of_exposed_ones_only_have_no_upper_end() -> None:
    found = matched_odds(pairs(9, 0))
    assert found is not None
    assert (found.ratio, found.high) == (math.inf, math.inf)
    assert 1 < found.low < 10
    assert found.p < 0.01


def test_strata_without_contrast_tell_nothing() -> None:
    same, all_events, no_events = stratum([1, 1], [1, 0]), stratum([1, 0], [1, 1]), stratum([1, 0], [0, 0])
    assert informative([same, all_events, no_events]) == []
    assert matched_odds([same, all_events, no_events]) is None


@pytest.mark.lengthy
@some_and_all("samples", 150, 400)
def test_false_alarms_and_power(samples: int) -> None:
    """At a nominal 5 %, at most 7 % of samples without an effect are called one; a tripled rate is mostly found."""
    chance = np.random.default_rng(5)

    def sample(effect: float) -> list[Stratum]:
        strata = []
        for _ in range(60):
            exposed = chance.random(8) < 0.4
            weights = np.where(exposed, effect, 1.0)
            event = chance.choice(8, p=weights / weights.sum())
            strata.append(Stratum(exposed.astype(float), np.arange(8) == event))
        return informative(strata)

    def rejected(effect: float) -> float:
        return float(np.mean([shuffled_p(sample(effect), 999) < 0.05 for _ in range(samples)]))

    assert rejected(1.0) <= 0.07
    assert rejected(3.0) >= 0.9
