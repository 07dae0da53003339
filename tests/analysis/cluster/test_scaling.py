"""How much of so many times one engine's throughput is left."""

from __future__ import annotations

import pytest

from engine_probe.analysis.cluster.scaling import scaling


def test_the_efficiency_is_against_one_engine() -> None:
    found = scaling({1: [100.0, 102.0], 2: [190.0, 194.0], 4: [350.0, 354.0]})
    assert [level.engines for level in found] == [1, 2, 4]
    assert [level.efficiency for level in found] == pytest.approx([1, 192 / 202, 352 / 404])
    assert found[0].interval is None
    assert all(level.interval and level.interval[0] < level.efficiency < level.interval[1] for level in found[1:])


def test_single_measurements_have_no_interval() -> None:
    assert [level.interval for level in scaling({1: [100.0], 2: [190.0]})] == [None, None]


@pytest.mark.parametrize("rates", [{2: [190.0], 4: [350.0]}, {1: [100.0]}, {}, {1: [0.0], 2: [1.0]}])
def test_without_a_single_engine_or_others_there_is_none(rates: dict[int, list[float]]) -> None:
    assert scaling(rates) == []
