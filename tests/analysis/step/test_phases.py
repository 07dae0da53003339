"""The phases of a step, from tables small enough for the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from engine_probe.analysis.step.phases import OUTSIDE, phases_over_load, step_phases
from tests.support.recordings.small_tables import table

MS = 1_000_000
Make = Callable[..., pa.Table]
NO_IDLE = np.zeros(9, dtype=bool)


def step(number: int, rank: int = 0, bookkeep: int | None = 2) -> dict[str, Any]:
    """A step of 10 ms: preparation 1, forward 4, logits 0.5, sampling 0.5, bookkeeping 2, outside 2."""
    start = number * 10 * MS
    return {
        "iteration": number,
        "rank": rank,
        "start_ns": start,
        "forward_start_ns": start + MS,
        "forward_ns": 4 * MS,
        "execute_ns": 5 * MS + MS // 2,
        "sample_start_ns": start + 6 * MS,
        "sample_ns": MS // 2 + 2 * MS,
        "bookkeep_ns": None if bookkeep is None else bookkeep * MS,
    }


def test_shares_of_the_phases_add_up_to_the_time_between_steps(iterations: Make) -> None:
    found = step_phases(iterations(4), table("workers", [step(number) for number in range(4)]), NO_IDLE[:4])
    assert found is not None
    assert found.shares == {
        "input preparation": 0.1,
        "forward": 0.4,
        "logits": 0.05,
        "sampling": 0.05,
        "bookkeeping": 0.2,
        OUTSIDE: 0.2,
    }
    assert found.total_ns.tolist() == [10 * MS] * 3  # the last step has no next one


def test_without_bookkeeping_sampling_holds_all_of_it(iterations: Make) -> None:
    rows = [step(number, bookkeep=None) for number in range(3)]
    found = step_phases(iterations(3), table("workers", rows), NO_IDLE[:3])
    assert found is not None
    assert (found.shares["sampling"], found.shares["bookkeeping"]) == (0.25, 0)


def test_a_gap_without_a_request_is_no_phase(iterations: Make) -> None:
    """Of the 2 ms between the second step and the third, 1.5 ms passed without a request."""
    steps = iterations(3, gap_ns=[0, 0, 3 * MS // 2])
    found = step_phases(steps, table("workers", [step(n) for n in range(3)]), np.array([False, False, True]))
    assert found is not None
    assert found.ns[OUTSIDE].tolist() == [2 * MS, MS // 2]


def test_every_rank_counts(iterations: Make) -> None:
    rows = [step(number, rank) for number in range(3) for rank in (0, 1)]
    found = step_phases(iterations(3), table("workers", rows), NO_IDLE[:3])
    assert found is not None
    assert (found.ranks, len(found.running)) == (2, 4)


def test_steps_without_a_forward_and_recordings_without_phases(iterations: Make) -> None:
    without = {"forward_start_ns": None, "forward_ns": None}
    assert step_phases(iterations(3), table("workers", [step(n) | without for n in range(3)]), NO_IDLE[:3]) is None
    assert step_phases(iterations(3), table("workers", []), NO_IDLE[:3]) is None
    assert step_phases(iterations(1), table("workers", [step(0)]), NO_IDLE[:1]) is None
    rows = [step(0), step(1) | without, step(2)]
    found = step_phases(iterations(3), table("workers", rows), NO_IDLE[:3])
    assert found is not None
    assert len(found.running) == 1


def test_rows_of_steps_that_the_iterations_lack_are_left_out(iterations: Make) -> None:
    found = step_phases(iterations(2), table("workers", [step(n) for n in range(4)]), NO_IDLE[:2])
    assert found is not None
    assert len(found.running) == 1


def test_loads_are_divided_at_powers_of_two(iterations: Make) -> None:
    steps = iterations(6, running_requests=[1, 2, 3, 4, 7, 8])
    rows = [step(number) for number in range(6)]
    rows[1]["forward_ns"], rows[1]["execute_ns"] = 2 * MS, 3 * MS + MS // 2
    found = step_phases(steps, table("workers", rows), NO_IDLE[:6])
    assert found is not None
    loads = phases_over_load(found)
    assert [(load.least, load.most, load.steps) for load in loads] == [(1, 1, 1), (2, 3, 2), (4, 7, 2)]
    assert [load.mean_ns["forward"] for load in loads] == [4 * MS, 3 * MS, 4 * MS]
