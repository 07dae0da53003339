"""What the probe costs, from pairs of points that differ in nothing but the probe."""

from __future__ import annotations

import pytest

from engine_probe.analysis.compare.probe_cost import ProbeCost, Timed, pair_of, probe_cost, probe_cost_line
from tests.support.values import values


def pairs(*seconds: tuple[float, float]) -> list[Timed]:
    return [
        Timed(str(number), watched, took)
        for number, both in enumerate(seconds)
        for watched, took in zip((True, False), both, strict=True)
    ]


def test_only_the_probe_and_the_name_may_differ_in_a_pair() -> None:
    asked = {"workload": {"concurrency": 4}, "repeat": 1, "probe": True, "label": "probe on"}
    assert pair_of(asked) == pair_of(asked | {"probe": False, "label": "probe off"})
    assert pair_of(asked) != pair_of(asked | {"repeat": 2})
    assert pair_of(asked) != pair_of(asked | {"workload": {"concurrency": 8}})


def test_the_interval_is_students_over_the_pairs() -> None:
    found = probe_cost(pairs((11, 10), (12, 10), (13, 10)))
    assert found is not None
    assert (found.pairs, found.longer) == (3, pytest.approx(0.2))
    assert found.half_width == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)  # t of two degrees of freedom
    assert values(probe_cost_line(found)) == ["+20.0%", "24.8%", "95%", "3"]
    assert "not significant" in probe_cost_line(found)


def test_few_pairs_say_so_and_none_say_nothing() -> None:
    found = probe_cost(pairs((11, 10)))
    assert found == ProbeCost(1, pytest.approx(0.1), None)
    assert values(probe_cost_line(found)) == ["+10.0%", "1"]
    assert "too few" in probe_cost_line(found)
    assert probe_cost([Timed("a", True, 1.0), Timed("b", False, 1.0)]) is None
