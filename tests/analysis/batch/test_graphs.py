"""Graphs and padding, from steps small enough for the head."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.batch.graphs import graph_use
from tests.support.recordings.small_tables import table

MS = 1_000_000
Make = Callable[..., pa.Table]
FACTS: dict[str, Any] = {"compilation": {"max_capture_size": 8}}
EAGER, PIECEWISE, FULL = range(3)


def step(number: int, mode: int, asked: int, computed: int, device_ms: int | None = None, rank: int = 0) -> Any:
    device = {} if device_ms is None else {"device_start_ns": number * 10 * MS, "device_ns": device_ms * MS}
    shape = {"graph_mode": mode, "scheduled_tokens": asked, "computed_tokens": computed}
    return {"iteration": number, "rank": rank, **shape, **device}


def test_shares_of_steps_time_and_padding(iterations: Make) -> None:
    rows = [step(0, PIECEWISE, 6, 8), step(1, FULL, 3, 4), step(2, FULL, 4, 4), step(3, EAGER, 9, 9)]
    found = graph_use(FACTS, iterations(4), table("workers", rows), np.array([10, 20, 20, 50]))
    assert found is not None
    assert [(mode.name, mode.steps, mode.time_share) for mode in found.modes] == [
        ("outside graphs", 1, 0.5),
        ("piecewise graphs", 1, 0.1),
        ("full graph", 2, 0.4),
    ]
    assert [mode.padding_share for mode in found.modes] == [0, 0.25, 0.125]
    assert found.padding_share == 1 - 22 / 25
    assert found.padding_cost is None  # no forward was timed on a GPU
    assert found.decode_beyond == 0.5


def test_the_cost_of_padding_is_that_of_each_forward(iterations: Make) -> None:
    """Half of 4 ms and none of 12 ms, whichever tokens they had."""
    rows = [step(0, FULL, 2, 4, 4), step(1, EAGER, 900, 900, 12)]
    found = graph_use(FACTS, iterations(2), table("workers", rows), np.array([5, 15]))
    assert found is not None
    assert found.padding_cost == 2 / 16


def test_one_rank_speaks_for_all_but_every_rank_is_timed(iterations: Make) -> None:
    rows = [step(0, FULL, 2, 4, ms, rank) for rank, ms in ((1, 4), (2, 8))]
    found = graph_use(FACTS, iterations(1), table("workers", rows), np.array([10]))
    assert found is not None
    assert (found.modes[0].steps, found.modes[0].asked_tokens, found.padding_cost) == (1, 2, 0.5)


def test_a_prefill_outside_the_graphs_is_no_decode_step(iterations: Make) -> None:
    steps = iterations(2, prefill_tokens=[8, 0])
    rows = [step(0, EAGER, 9, 9), step(1, FULL, 1, 1)]
    found = graph_use(FACTS, steps, table("workers", rows), np.array([10, 10]))
    assert found is not None
    assert found.decode_beyond == 0


@pytest.mark.parametrize(("above_ms", "least"), [(30, 15), (15, 0), (12, 0)])
def test_what_leaving_the_graphs_cost_at_least(iterations: Make, above_ms: int, least: int) -> None:
    """8 tokens take 12 ms in a graph, so that 10 tokens would take 15 ms there at most."""
    rows = [
        step(number, FULL if number < 20 else EAGER, *((8, 8) if number < 20 else (10, 10))) for number in range(40)
    ]
    busy = np.where(np.arange(40) < 20, 12 * MS, above_ms * MS)
    found = graph_use(FACTS, iterations(40), table("workers", rows), busy)
    assert found is not None
    assert found.leaving is not None
    assert (found.leaving.steps, found.leaving.tokens) == ((20, 20), (8, 10))
    assert found.leaving.least_ns == least * MS
    few = graph_use(FACTS, iterations(39), table("workers", rows[:39]), busy[:39])
    assert few is not None
    assert few.leaving is None


def test_nothing_is_said_without_graphs_or_by_older_recordings(iterations: Make) -> None:
    none, busy = {"compilation": {"max_capture_size": None}}, np.array([10])
    rows = [step(0, EAGER, 9, 9)]
    assert graph_use(none, iterations(1), table("workers", rows), busy) is None
    assert graph_use({}, iterations(1), table("workers", [{"iteration": 0}]), busy) is None
    assert graph_use({}, iterations(1), table("workers", []), busy) is None
    padded = graph_use(none, iterations(1), table("workers", [step(0, EAGER, 9, 12)]), busy)  # to other DP ranks
    assert padded is not None
    assert padded.padding_share == 0.25
    assert graph_use(FACTS, iterations(1), table("workers", rows), busy) is not None  # graphs that were never used
