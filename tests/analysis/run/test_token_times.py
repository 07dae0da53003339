"""Token times follow from stretches: each token comes at the end of its iteration's update."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_probe.analysis.run.token_times import gap_sample, token_times

MS = 1_000_000
Make = Callable[..., pa.Table]


def gaps(iterations: pa.Table, requests: pa.Table) -> list[tuple[int, int]]:
    """Return request and length of every gap between two tokens, one by one."""
    tokens = token_times(iterations, requests).to_pylist()
    pairs = pairwise(tokens)
    return [(b["request"], b["time_ns"] - a["time_ns"]) for a, b in pairs if a["request"] == b["request"]]


def test_one_token_per_iteration_of_a_stretch(iterations: Make, requests: Make) -> None:
    found = token_times(iterations(6), requests({"run_starts": [1, 4], "run_lengths": [2, 1]}))
    assert found["iteration"].to_pylist() == [1, 2, 4]
    assert found["time_ns"].to_pylist() == [20 * MS, 30 * MS, 50 * MS]


def test_gaps_span_what_a_preemption_took(iterations: Make, requests: Make) -> None:
    two = requests({"run_starts": [0, 5], "run_lengths": [2, 1]}, {"run_starts": [2], "run_lengths": [3]})
    assert gaps(iterations(6), two) == [(0, 10 * MS), (0, 40 * MS), (1, 10 * MS), (1, 10 * MS)]


def test_a_burst_delivers_several_at_once_or_none(iterations: Make, requests: Make) -> None:
    one = requests(
        {"run_starts": [0], "run_lengths": [4], "burst_iterations": [1, 2], "burst_tokens": [3, 0], "output_tokens": 5}
    )
    assert token_times(iterations(4), one)["iteration"].to_pylist() == [0, 1, 1, 1, 3]
    assert gaps(iterations(4), one) == [(0, 10 * MS), (0, 0), (0, 0), (0, 20 * MS)]
    assert gap_sample(iterations(4), one).values.tolist() == [10 * MS, 20 * MS]  # between deliveries


def test_nothing_was_answered(iterations: Make, requests: Make) -> None:
    assert token_times(iterations(2), requests()).num_rows == 0
    assert gap_sample(iterations(2), requests()).count == 0


@st.composite
def stretches(draw: Any) -> dict[str, list[int]]:
    marks = sorted(draw(st.sets(st.integers(0, 29), max_size=8)))
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    return {"run_starts": [a for a, _ in pairs], "run_lengths": [b - a for a, b in pairs]}


@pytest.mark.lengthy
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(stretches(), max_size=6), st.randoms(use_true_random=False))
def test_the_weighted_sample_holds_every_gap(
    iterations: Make, requests: Make, rows: list[dict[str, list[int]]], chance: Any
) -> None:
    steps = iterations(30, execute_ns=[chance.randint(1, 9) * MS for _ in range(30)])
    sample = gap_sample(steps, requests(*rows))
    assert sample.weights is not None
    told = np.sort(np.repeat(sample.values, sample.weights))
    assert told.tolist() == sorted(length for _, length in gaps(steps, requests(*rows)))
