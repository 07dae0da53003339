"""Means of whole sweeps are what is tested between occasions."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.compare.changes import METRICS, Change, changes_between, difference
from engine_probe.analysis.compare.occasions import together_between
from tools.calibration.comparisons import simulated_run

RATE = METRICS[0]


def change(old: tuple[float, ...], new: tuple[float, ...], metric: int = 0) -> Change:
    return Change(METRICS[metric], old, new, *difference(old, new))


def test_the_repeats_of_an_occasion_count_once() -> None:
    rng = np.random.default_rng(1)
    before = [[simulated_run(rng, rate, 1.0, 0.0) for rate in of_sweep] for of_sweep in ((90, 110), (100,), (119, 121))]
    after = [[simulated_run(rng, rate, 1.0, 0.0)] for rate in (80, 90)]
    found = next(each for each in changes_between(before, after) if each.metric.name == "output_tokens_per_s")
    assert (found.old, found.new) == ((100.0, 100.0, 120.0), (80.0, 90.0))
    assert found.p == difference(found.old, found.new)[0]


def test_all_points_are_one_number_of_each_sweep() -> None:
    points = [[change((1.0, 2.0), (2.0, 4.0))], [change((100.0, 50.0), (200.0, 100.0))]]
    (whole,) = together_between(points)
    assert whole.old == pytest.approx((10.0, 10.0))
    assert whole.new == pytest.approx((20.0, 20.0))
    assert whole.verdict == ("better" if RATE.better == "more" else "worse")


def test_what_a_point_lacks_or_is_zero_is_not_pooled() -> None:
    both, alone = change((1.0, 2.0), (2.0, 4.0)), change((0.0, 2.0), (2.0, 4.0), 1)
    assert [each.metric for each in together_between([[both, alone], [both]])] == [RATE]
    assert [each.metric for each in together_between([[both, alone], [both, alone]])] == [RATE]
    assert together_between([[both]]) == []
