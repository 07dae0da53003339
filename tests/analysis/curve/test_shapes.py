"""Families of curves: what each does before and after its break, and where a break may lie."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.curve.shapes import FAMILIES, BreakRange, Family

SPAN = BreakRange(np.array([1.0, 2.0, 4.0, 8.0]))
HALFWAY = np.full((4, 1), 0.5)


def rates(family: Family, *loads: float) -> list[float]:
    found: list[float] = family.rates(HALFWAY, np.array(loads), SPAN)[:, 0].tolist()
    return found


def test_a_break_lies_halfway_between_the_ends_or_among_the_gaps() -> None:
    """On powers of two both agree; of 1, 10 and 11, the second lies at 0.96 on a logarithmic scale, at 0.5 by gaps."""
    assert SPAN.load(np.array([0.0, 1 / 3, 0.5, 1.0])).tolist() == pytest.approx([1, 2, 8**0.5, 8])
    assert BreakRange(np.array([1.0, 10.0, 11.0])).load(
        np.array([(np.log(10) / np.log(11) + 0.5) / 2])
    ) == pytest.approx(10)


def test_a_plateau_is_level_from_its_break_on() -> None:
    assert rates(Family("line", "plateau"), 1, 2, 4, 8) == pytest.approx([1, 2, 8**0.5, 8**0.5])


def test_a_cliff_loses_at_once_and_a_slope_by_the_highest_level() -> None:
    """Halfway from 2 % to 60 %: 31 %."""
    assert rates(Family("line", "cliff"), 4, 8) == pytest.approx([8**0.5 * 0.69] * 2)
    before, last = rates(Family("line", "slope"), 8**0.5, 8)
    assert last / before == pytest.approx(0.69)
    level, last = rates(Family("line", "later slope"), 3, 8)
    assert last / level == pytest.approx(0.69)


def test_the_scalability_law_has_a_peak() -> None:
    rising, peak, falling = rates(Family("scalability", ""), 1, 4, 16)
    assert peak > max(rising, falling)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.growing} {family.end}")
def test_no_curve_grows_faster_than_in_proportion(family: Family) -> None:
    cube = np.random.default_rng(1).random((4, 50))
    loads = np.geomspace(1, 500, 60)
    each = family.rates(cube, loads, SPAN) / loads[:, None]
    assert (np.diff(each, axis=0) <= 1e-12).all()
    assert (each > 0).all()
