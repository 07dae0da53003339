"""Stalled steps are found beside steps like them, and their causes by what each can explain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.step import expected_time
from engine_probe.analysis.step.expected_time import FEWEST, expected_ns, running_median
from engine_probe.analysis.step.stalls import Stalls, stalls, unseen_ns
from engine_probe.analysis.step.step_time import busy_ns
from tests.support.recordings import stalled_run
from tests.support.recordings.small_tables import table
from tests.support.recordings.stalled_run import MS, USUAL, began, decoding
from tests.support.values import values

STEPS = 100


def found(iterations: pa.Table, events: list[dict[str, Any]] | None = None, workers: pa.Table | None = None) -> Stalls:
    busy = busy_ns(iterations, np.zeros(iterations.num_rows, dtype=bool))
    ranks = table("workers", []) if workers is None else workers
    return stalls(iterations, busy, ranks, table("host_events", events or []))


def event(kind: str, start_ms: float, duration_ms: float, held_ms: float, number: int | None = None) -> dict[str, Any]:
    """An event that begins so many ms after step 50."""
    return stalled_run.event(kind, began(50) + round(start_ms * MS), duration_ms, held_ms, number)


def only(stalled: Stalls) -> dict[str, Any]:
    (row,) = stalled.table.to_pylist()
    return row


def test_even_steps_do_not_stall() -> None:
    quiet = found(decoding())
    assert (quiet.table.num_rows, quiet.judged, quiet.not_judged, quiet.excess_ns) == (0, STEPS, 0, 0)
    assert quiet.busy_ns == STEPS * USUAL


def test_a_stall_without_any_event_is_unknown() -> None:
    row = only(found(decoding({50: 310})))
    assert row == {
        "iteration": 50,
        "start_ns": began(50),
        "duration_ns": 310 * MS,
        "expected_ns": USUAL,
        "excess_ns": 300 * MS,
        "cause": "unknown",
        "explained_ns": 0,
        "detail": "most of it in execute",
    }


@pytest.mark.parametrize(("ms", "is_stall"), [(19, False), (21, True)])
def test_a_stall_takes_twice_what_was_expected(ms: int, is_stall: bool) -> None:
    assert bool(found(decoding({50: ms})).table.num_rows) == is_stall


def test_steps_that_scatter_need_more_to_stall() -> None:
    """Times between 5 and 15 ms have a robust deviation of 4.4 ms: 30 ms are not eight of them beyond 10."""
    scattered = {index: 5 + index * 7 % 11 for index in range(STEPS)}
    assert not found(decoding({**scattered, 50: 30})).table.num_rows
    assert only(found(decoding({**scattered, 50: 60})))["iteration"] == 50


def test_a_long_prompt_is_no_stall() -> None:
    """Steps with 0.1 ms for each token of prompts: only the one that took longer than its tokens is told."""
    tokens = [(index * 37) % 400 if index % 2 else 0 for index in range(STEPS)]
    took = {index: 10 + tokens[index] // 10 for index in range(STEPS)}
    assert not found(decoding(took, prefill_tokens=tokens)).table.num_rows
    late = found(decoding({**took, 51: took[51] + 200}, prefill_tokens=tokens))
    assert (only(late)["iteration"], only(late)["cause"]) == (51, "unknown")


def test_steps_without_enough_like_them_are_not_judged() -> None:
    tokens = [64 if index < FEWEST - 1 else 0 for index in range(STEPS)]
    few = found(decoding({3: 900}, prefill_tokens=tokens))
    assert (few.table.num_rows, few.judged, few.not_judged) == (0, STEPS - FEWEST + 1, FEWEST - 1)


def test_a_pause_that_explains_most_is_the_cause() -> None:
    row = only(found(decoding({50: 310}), [event("garbage collection", 5, 280, 280, 2)]))
    assert (row["cause"], row["explained_ns"], row["detail"]) == ("garbage collection", 280 * MS, "generation 2")


def test_a_pause_counts_only_within_the_step() -> None:
    """A collection of 400 ms that ended 40 ms into the step."""
    row = only(found(decoding({50: 310}), [event("garbage collection", -360, 400, 400, 2)]))
    assert row["cause"] == "unknown"
    execute, collection = row["detail"].split("; ")
    assert "execute" in execute
    assert "garbage collection" in collection
    assert values(collection) == ["40.0", "2"]


def test_a_busy_thread_explains_no_more_than_its_cpu_time() -> None:
    """A writer that waits for the disk during all of the stall."""
    assert only(found(decoding({50: 310}), [event("probe's writer", 0, 310, 12)]))["cause"] == "unknown"
    assert only(found(decoding({50: 310}), [event("probe's writer", 0, 310, 290)]))["cause"] == "probe's writer"


def test_of_several_causes_the_largest_is_named_and_the_rest_shown() -> None:
    windows = [event("waited for a processor", 50 * at - 20, 50, 10, 3) for at in range(6)]
    row = only(found(decoding({50: 310}), [*windows, event("garbage collection", 5, 200, 200, 2)]))
    assert (row["cause"], row["explained_ns"]) == ("garbage collection", 200 * MS)
    assert values(row["detail"]) == ["2", "60.0", "18"]
    assert "waited for a processor" in row["detail"]


def test_a_worker_that_began_late() -> None:
    """Rank 1 begins 1 ms after each step was scheduled, and 255 ms after step 50."""
    rows = [
        {"iteration": index, "rank": rank, "start_ns": begun + (255 if (index, rank) == (50, 1) else rank) * MS}
        | {"execute_ns": 5 * MS}
        for index, begun in enumerate(decoding({50: 310})["start_ns"].to_pylist())
        for rank in (0, 1)
    ]
    row = only(found(decoding({50: 310}), workers=table("workers", rows)))
    assert (row["cause"], row["explained_ns"], row["detail"]) == ("late worker", 254 * MS, "rank 1")


def test_what_paused_a_worker_is_named_before_its_lateness() -> None:
    rows = [
        {"iteration": index, "rank": 1, "start_ns": begun + (290 if index == 50 else 1) * MS, "execute_ns": 5 * MS}
        for index, begun in enumerate(decoding({50: 310})["start_ns"].to_pylist())
    ]
    paused = event("garbage collection of rank 1", 5, 280, 280, 2)
    row = only(found(decoding({50: 310}), [paused], table("workers", rows)))
    assert (row["cause"], row["explained_ns"]) == ("garbage collection of rank 1", 280 * MS)
    assert row["detail"] == "generation 2; late worker at most 289 ms (rank 1)"


def test_a_late_worker_is_not_named_where_something_else_explains_it() -> None:
    """What pauses the core makes its workers begin late, by a little more than the pause."""
    rows = [
        {"iteration": index, "rank": 0, "start_ns": begun + (290 if index == 50 else 1) * MS, "execute_ns": 5 * MS}
        for index, begun in enumerate(decoding({50: 310})["start_ns"].to_pylist())
    ]
    row = only(found(decoding({50: 310}), [event("garbage collection", 5, 280, 280, 2)], table("workers", rows)))
    assert (row["cause"], values(row["detail"])) == ("garbage collection", ["2", "289", "0"])
    assert "late worker" in row["detail"]


def after_a_gap(gap_ms: int, arrived_ms: list[int]) -> tuple[pa.Table, np.ndarray]:
    """Every request ends with step 49; the next ones arrive so many ms into the gap before step 50."""
    shift = np.where(np.arange(STEPS) < 50, 0, gap_ms * MS)
    gaps = [gap_ms * MS if index == 50 else 0 for index in range(STEPS)]
    iterations = decoding(gap_ns=gaps, finished_requests=[4 if index == 49 else 0 for index in range(STEPS)])
    starts = pa.array(iterations["start_ns"].to_numpy() + shift)
    iterations = iterations.set_column(iterations.schema.get_field_index("start_ns"), "start_ns", starts)
    idle = np.arange(STEPS) == 50
    requests = table("requests", [{"request_id": str(ms), "arrival_ns": began(50) + ms * MS} for ms in arrived_ms])
    return iterations, busy_ns(iterations, idle) + unseen_ns(iterations, requests, idle)


def test_an_engine_that_does_not_see_a_request_between_two_steps_stalls() -> None:
    """A request is handed over 100 ms into a gap of 500 ms, and a garbage collection lasts from there to its end."""
    iterations, busy = after_a_gap(500, [100])
    ranks = table("workers", [])
    row = only(stalls(iterations, busy, ranks, table("host_events", [])))
    assert (row["iteration"], row["start_ns"], row["duration_ns"]) == (50, began(50) + 100 * MS, 410 * MS)
    assert (row["cause"], row["detail"]) == ("unknown", "most of it between two steps")
    collection = table("host_events", [event("garbage collection", 60, 430, 430, 2)])
    row = only(stalls(iterations, busy, ranks, collection))
    assert (row["cause"], row["explained_ns"]) == ("garbage collection", 390 * MS)


@pytest.mark.parametrize("arrived_ms", [[], [100, 499], [-300]])
def test_a_gap_without_a_request_is_no_stall(arrived_ms: list[int]) -> None:
    """Nobody waits; the caller still hands over others; the request of an earlier step is not this one's."""
    iterations, busy = after_a_gap(500, arrived_ms)
    assert not stalls(iterations, busy, table("workers", []), table("host_events", [])).table.num_rows


def test_stalls_are_counted_by_cause() -> None:
    both = found(decoding({50: 310, 60: 110, 70: 40}), [event("garbage collection", 5, 280, 280, 2)])
    assert both.by_cause == {"garbage collection": (1, 300 * MS), "unknown": (2, 130 * MS)}
    assert both.excess_ns == 430 * MS


def test_a_few_prompts_of_very_different_lengths_do_not_stall() -> None:
    """24 of them, the longest 24 times the shortest: too few to have each fifty of its own length beside it."""
    tokens = [4 * index for index in range(24)] + [0] * (STEPS - 24)
    took = {index: 10 + tokens[index] for index in range(STEPS)}
    assert not found(decoding(took, prefill_tokens=tokens)).table.num_rows
    assert only(found(decoding({**took, 12: 400}, prefill_tokens=tokens)))["iteration"] == 12


def test_what_is_expected_follows_the_tokens() -> None:
    tokens = [8 * (index % 25 + 1) for index in range(200)]
    iterations = decoding({index: 5 + tokens[index] for index in range(200)}, count=200, decode_tokens=tokens)
    expected, spread = expected_ns(iterations, iterations["execute_ns"].to_numpy())
    assert expected == pytest.approx([(5 + each) * MS for each in tokens], rel=1e-3)
    assert (spread < MS // 10).all()


def test_running_median() -> None:
    assert running_median(np.arange(20.0)).tolist() == [9.0] * 10 + [10.0] * 10  # of 19 values
    many = running_median(np.arange(101.0))
    assert many[[0, 25, 50, 75, 100]].tolist() == [25.0, 25.0, 50.0, 75.0, 75.0]


def test_the_medians_of_a_long_run_lie_between_those_of_some_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    every = running_median(np.arange(10_000.0))
    monkeypatch.setattr(expected_time, "MOST_MEDIANS", 100)
    assert running_median(np.arange(10_000.0)) == pytest.approx(every, abs=100)
