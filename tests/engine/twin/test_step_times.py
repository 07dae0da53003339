from __future__ import annotations

import numpy as np
import pytest

from engine_probe.engine.twin.step_times import ANSWERS, PROMPTS, Price, StepTimes, interpolated, padding
from engine_probe.engine.twin.step_work import StepWork

DECODE = StepWork(5, 0, 5, 0, 500)
PREFILL = StepWork(5, 96, 4, 4_000, 400)


@pytest.mark.parametrize(("tokens", "extra"), [(1, 0), (3, 1), (4, 0), (5, 3), (8, 0), (9, 0)])
def test_a_step_is_padded_to_the_smallest_graph_that_holds_it(tokens: int, extra: int) -> None:
    assert padding(tokens, (1, 2, 4, 8)) == extra
    assert padding(tokens, ()) == 0


def test_padding_costs_its_price() -> None:
    times = StepTimes({"step": Price(1000.0), "padding": Price(10.0)}, graph_sizes=(1, 2, 4, 8))
    assert times.ns(DECODE) == 1000 + 3 * 10
    assert times.ns(StepWork(8, 0, 8, 0, 800)) == 1000


def test_matrix_products_take_the_time_of_the_tokens_that_are_computed() -> None:
    times = StepTimes({"step": Price(7.0)}, matrices=((1, 100.0), (4, 100.0), (8, 180.0)), graph_sizes=(8,))
    assert times.ns(DECODE) == 7 + 180  # padded to 8
    assert times.ns(PREFILL) == 7 + round(180 * 100 / 8)


@pytest.mark.parametrize(("x", "y"), [(0.5, 10.0), (1, 10.0), (2, 15.0), (3, 20.0), (6, 40.0)])
def test_a_table_is_interpolated_and_grows_in_proportion_beyond_its_end(x: float, y: float) -> None:
    assert interpolated(((1, 10.0), (3, 20.0)), x) == pytest.approx(y)


def test_the_hosts_part_is_told_apart() -> None:
    times = StepTimes({"step": Price(1000.0)}, host={"step": Price(200.0), "answer token": Price(10.0)})
    assert times.parts(DECODE) == (1000, 250)
    assert times.ns(DECODE) == 1250


def test_times_scatter_as_they_were_recorded_and_again_in_the_same_way() -> None:
    ratios = tuple(np.linspace(0.8, 1.2, 100))
    times = StepTimes({"step": Price(1e6)}, scatter={ANSWERS: ratios})
    first, again, other = (times.drawn(seed) for seed in (1, 1, 2))
    drawn = [first(DECODE)[0] for _ in range(4000)]
    assert drawn == [again(DECODE)[0] for _ in range(4000)]
    assert drawn != [other(DECODE)[0] for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(1e6, rel=0.01)
    assert np.quantile(drawn, 0.99) == pytest.approx(np.quantile(ratios, 0.99) * 1e6, rel=0.01)
    few = times.drawn()
    assert np.median([few(DECODE)[0] for _ in range(3)]) == pytest.approx(1e6, rel=0.01)
    assert first(PREFILL) == (1_000_000, 0), "no prompt was recorded to scatter like"
    assert PROMPTS not in times.scatter
