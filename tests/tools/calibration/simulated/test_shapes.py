"""The truth of every kind of curve is what arithmetic by hand says."""

from __future__ import annotations

import numpy as np
import pytest

from tools.calibration.simulated import shapes
from tools.calibration.simulated.shapes import DRAWS, HAIR, TRACE, Shape, draw_shape

NEARLY = 0.003  # relative: truth is searched for on loads 0.1 % apart


def shape(rate: shapes.Rate, highest: float = 64.0) -> Shape:
    return Shape("by hand", rate, highest)


def test_a_broken_line_grows_to_its_knee_and_shares_it_a_quarter_later() -> None:
    found = shape(shapes.capped(shapes.linear, 16.0))
    assert found.at(8.0) == 8.0
    assert found.at(40.0) == 16.0
    assert found.proportional_limit == pytest.approx(20.0, rel=NEARLY)  # 16 / 20 is 80 %
    assert found.end_of_growth == pytest.approx((16.0 / (1 + HAIR), 16.0 / (1 + TRACE)), rel=NEARLY)
    assert found.loss_at(64.0) == 0.0


def test_an_affine_step_is_proportional_to_a_quarter_of_its_bend_and_grows_for_long() -> None:
    # n / (10 + n) against n / 11: 80 % where 11 / (10 + n) = 0.8, so at 3.75. Its limit of 1 is missed by 2 % at 500.
    found = shape(shapes.affine_step(10.0, 1.0), highest=1000.0)
    assert found.proportional_limit == pytest.approx(3.75, rel=NEARLY)
    assert found.end_of_growth[0] == pytest.approx(10 / HAIR, rel=0.02)  # to 64,000 and not to infinity
    assert shape(shapes.affine_step(10.0, 1.0)).end_of_growth[0] > 64.0


def test_proportional_growth_never_ends() -> None:
    found = shape(shapes.linear)
    assert found.proportional_limit == np.inf
    assert found.end_of_growth == (np.inf, np.inf)


def test_two_slopes_never_end_and_lose_their_share() -> None:
    found = shape(shapes.two_slopes(10.0, 0.2))
    assert found.at(60.0) == pytest.approx(20.0)
    assert found.proportional_limit == pytest.approx(8.0 / 0.6, rel=NEARLY)  # 10 + 0.2 (n - 10) = 0.8 n
    assert found.end_of_growth == (np.inf, np.inf)


def test_an_exponential_ends_where_a_fiftieth_is_left() -> None:
    found = shape(shapes.exponential(8.0))
    # 1 / (1 - exp(-n / 8)) = 1.02 at n = 8 ln(1.02 / 0.02)
    assert found.end_of_growth[0] == pytest.approx(8 * np.log(1.02 / 0.02), rel=NEARLY)


def test_the_scalability_law_peaks_where_its_derivative_is_zero() -> None:
    found = shape(shapes.scalability(0.05, 0.95 / 20.0**2))
    peak = found.loads[np.argmax(found.rates)]
    assert peak == pytest.approx(20.0, rel=NEARLY)
    assert found.end_of_growth[0] < found.end_of_growth[1] < 20.0
    assert found.loss_at(64.0) == pytest.approx(1 - found.at(64.0) / found.at(20.0))
    assert shape(shapes.scalability(0.05, 0.0)).at(21.0) == pytest.approx(10.5)  # 21 / (1 + 0.05 x 20)


def test_a_slope_and_a_cliff_lose_what_they_say() -> None:
    slope = shape(shapes.falling(shapes.capped(shapes.linear, 10.0), 20.0, 0.01))
    assert [slope.loss_at(load) for load in (20.0, 30.0, 60.0)] == pytest.approx([0.0, 0.1, 0.4])
    cliff = shape(shapes.dropping(shapes.linear, 10.0, 0.3))
    assert (cliff.at(10.0), cliff.at(10.5), cliff.at(50.0)) == pytest.approx((10.0, 7.0, 7.0))
    assert cliff.loss_at(50.0) == pytest.approx(0.3, abs=0.002)


def test_a_padded_step_costs_the_same_up_to_its_multiple() -> None:
    found = shape(shapes.padded_steps(1.0, 0.1, 4.0, 8.0))
    assert found.at(3.0) == pytest.approx(3 / 1.4)
    assert found.at(4.0) == pytest.approx(4 / 1.4)
    assert found.at(5.0) == pytest.approx(5 / 1.8)
    assert found.at(30.0) == found.at(8.0)


def test_a_logarithm_grows_on() -> None:
    found = shape(shapes.logarithmic(0.5))
    assert found.at(np.e) == pytest.approx(1.5)
    assert found.end_of_growth[0] > 64.0


@pytest.mark.parametrize("name", DRAWS)
def test_every_drawn_curve_is_positive_and_nobody_gets_more_than_alone(name: str) -> None:
    for seed in range(20):
        drawn = draw_shape(np.random.default_rng(seed), name, 48.0)
        assert drawn.rates.min() > 0
        assert drawn.end_of_growth[0] <= drawn.end_of_growth[1]
        if "padded" not in name:  # a padded step is cheaper by the request when it is full
            assert (drawn.rates <= drawn.loads * drawn.at(1.0) * (1 + 1e-9)).all()
