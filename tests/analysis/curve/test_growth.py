"""What is told of curves is told with the share of the possible ones for which it is true."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine_probe.analysis.curve.growth import Growth, certainty, growth
from engine_probe.analysis.curve.likelihood import Likelihood, Scatter

LEVELS = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)
EXACT = Scatter(1e-6, 20, 2e-6)


def found(rate: Callable[[float], float], levels: tuple[float, ...] = LEVELS, scatter: Scatter = EXACT) -> Growth:
    made = growth(np.array(levels), np.array([rate(load) for load in levels]), scatter)
    assert made is not None
    return made


def test_a_level_on_a_plateau_is_spare_while_a_request_gets_its_share() -> None:
    """Level from 10 on: a request gets 83 % at 12 of what it gets alone, and 62 % at 16."""
    made = found(lambda load: min(load, 10))
    assert [made.region(load) for load in (8, 12, 16, 64)] == ["spare", "spare", "plateau", "plateau"]
    assert made.stays > 0.9


@pytest.mark.parametrize("scale", [4.0, 8.0])
def test_a_saturating_exponential_ends_where_little_is_left(scale: float) -> None:
    """2 % is left to gain at 3.9 times the scale, 0.1 % at 6.9 times."""
    made = found(lambda load: -math.expm1(-load / scale))
    end = made.saturation()
    assert end is not None
    assert end.low <= 6.9 * scale
    assert end.high >= 3.9 * scale


def test_a_scalability_law_past_its_peak_falls() -> None:
    """Most at 16; at 64, 56 % of that."""
    made = found(lambda load: load / (1 + 0.02 * (load - 1) + 0.98 / 256 * load * (load - 1)))
    assert made.region(64) == "overload"
    assert made.falls > 0.9
    end = made.saturation()
    assert end is not None
    assert end.low <= 16 <= end.high


def test_growth_that_goes_on_has_no_end() -> None:
    made = found(lambda load: load**0.7)
    assert made.saturation() is None
    assert made.region(64) == "shared"


def test_an_end_that_may_lie_above_all_levels_has_no_upper_limit() -> None:
    """80 % at 60: with 5 % of noise it may as well be at 80."""
    made = found(lambda load: load / (1 + load / 240), scatter=Scatter(0.05**2, 20, 0.05**2))
    end = made.equilibrium()
    assert end is None or math.isinf(end.high)


def test_the_same_levels_always_give_the_same_figures() -> None:
    one, two = (found(lambda load: min(load, 10)) for _ in range(2))
    assert one.equilibrium() == two.equilibrium()
    assert one.chances.tolist() == two.chances.tolist()


def test_three_levels_are_fitted_by_curves_with_at_most_one_parameter() -> None:
    made = growth(np.array([1.0, 2.0, 4.0]), np.array([10.0, 19.0, 30.0]), None)
    assert made is not None
    assert made.fit.family.parameters <= 1


def test_repeats_that_agree_make_a_bad_fit_unlikely() -> None:
    rates, off = np.ones(8), np.array([1.0, 1.05] * 4)

    def worse(scatter: Scatter | None) -> float:
        likelihood = Likelihood(rates, scatter)
        exact, bad = (float(likelihood(likelihood.errors(each[:, None])[:, 0])) for each in (rates, off))
        return exact - bad

    assert worse(Scatter(1e-4, 30, 1e-4)) > worse(Scatter(25e-4, 30, 25e-4))


def test_neighbours_that_deviate_alike_speak_for_a_drift() -> None:
    likelihood = Likelihood(np.ones(10), None)
    alike, apart = np.array([1.05] * 5 + [0.95] * 5), np.array([1.05, 0.95] * 5)
    for rates, drifts in ((alike, True), (apart, False)):
        errors = likelihood.errors(rates[:, None])
        assert bool(likelihood.drifting(errors) > likelihood.independent(errors)) is drifts


@pytest.mark.parametrize(("scale", "off", "named"), [(12, 0.95, True), (20, 1.05, False)])
def test_an_end_of_growth_is_named_where_it_is_likely(scale: float, off: float, named: bool) -> None:
    """Levels alternate 5 % above and below; 2 % is left to gain at 47 and at 78, and 64 is the highest level."""
    levels = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    errors = dict(zip(levels, [off, 1 / off] * 4, strict=False))
    made = found(lambda load: -math.expm1(-load / scale) * errors[load], levels, Scatter(0.05**2, 20, 0.05**2))
    assert (made.saturation() is not None) is named
    assert (made.ended >= 0.75) is named


def test_repeats_that_are_exactly_alike_are_taken_as_nearly_so() -> None:
    """A simulation without noise, or a point that was copied."""
    rates = np.array([1.0, 1.9, 3.5])
    alike, nearly = (Likelihood(rates, Scatter(variance, 20, variance)) for variance in (0.0, 1e-10))
    errors = alike.errors(np.array([[1.0], [2.0], [4.0]]))[:, 0]
    assert math.isfinite(alike(errors))
    assert alike(errors) == nearly(errors)


def test_the_region_of_a_level_is_the_most_certain_one() -> None:
    """Fewer curves have a plateau there than a fall, but a fall is true less often than so many curves say."""
    made = found(lambda load: min(load, 10))
    doubtful = replace(made, chances=np.tile([0.0, 0.0, 0.03, 0.46, 0.51], (len(LEVELS), 1)))
    assert doubtful.region(64) == "plateau"
    assert doubtful.sureness(64) == certainty("plateau", 0.46) > certainty("overload", 0.51)
