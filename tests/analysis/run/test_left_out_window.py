"""A run with a window of operators whose steps take ten times as long has the rates and latencies of one without."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.curve.held_load import held_load
from engine_probe.analysis.run.summary import Summary, latencies, summarise
from engine_probe.analysis.step.operators import left_out_time
from tests.support.recordings.small_tables import table

MS = 1_000_000
STEPS, FIRST, LAST = 400, 150, 169  # the window; one token in each of ten requests that run for 20 steps


def step_ms(number: int, slow: bool) -> int:
    return 100 if slow and FIRST <= number <= LAST else 10


def recorded(slow: bool) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    starts = [0]
    for number in range(STEPS):
        starts.append(starts[-1] + step_ms(number, slow) * MS)
    steps = [
        {"start_ns": start, "execute_ns": step_ms(number, slow) * MS, "output_tokens": 10, "running_requests": 10}
        for number, start in enumerate(starts[:-1])
    ]
    rows = [
        {"request_id": f"{begin}-{lane}", "finish_reason": "length", "output_tokens": 20, "prompt_tokens": 5}
        | {"arrival_ns": starts[begin], "queued_ns": starts[begin], "first_scheduled_ns": starts[begin]}
        | {"first_token_ns": starts[begin + 1], "last_token_ns": starts[begin + 20], "finished_ns": starts[begin + 20]}
        | {"run_starts": [begin], "run_lengths": [20], "burst_iterations": [], "burst_tokens": []}
        for lane in range(10)
        for begin in range(2 * lane, STEPS - 20, 20)
    ]
    facts: dict[str, Any] = {"kv": {"blocks": 100, "prefix_caching": False}}
    if slow:
        began = {"steps": 20, "began_ns": starts[FIRST] + 1, "ended_ns": starts[LAST + 1] - 1}
        facts |= {"operators": {"steps": 20, "first": FIRST}, "workers": {"ranks": [{"operators": began}]}}
    return (
        facts,
        table("iterations", [{"iteration": n} | step for n, step in enumerate(steps)]),
        table("requests", rows),
    )


def summary_of(slow: bool) -> Summary:
    facts, steps, requests = recorded(slow)
    return summarise(facts, "complete", [], steps, requests)


def test_the_rates_are_those_of_the_same_run_without_a_window() -> None:
    """The window takes 2,000 of 5,800 ms, and 200 of 4,000 tokens are its."""
    plain, watched = summary_of(slow=False), summary_of(slow=True)
    assert (plain.output_tokens_per_s, watched.output_tokens_per_s) == (1_000, 1_000)
    assert (plain.seconds, watched.seconds) == (4.0, 5.8)
    assert watched.requests_per_s == pytest.approx(plain.requests_per_s, rel=0.01)
    assert watched.total_tokens_per_s == pytest.approx(plain.total_tokens_per_s, rel=0.01)
    assert watched.near_peak is not None
    assert watched.near_peak.output_tokens_per_s == 1_000
    assert not watched.near_peak.unstable
    assert plain.after_warm_up is not None
    assert watched.after_warm_up is not None
    assert watched.after_warm_up.output_tokens_per_s == pytest.approx(1_000)
    assert watched.after_warm_up.requests_per_s == pytest.approx(plain.after_warm_up.requests_per_s, rel=0.02)
    assert watched.after_warm_up.end_ns == plain.after_warm_up.end_ns + 1_800 * MS  # on the recording's own clock


def test_no_latency_counts_a_step_of_the_window() -> None:
    """Requests that had a token in the window are left out of the latencies, as are its steps of the steps' times."""
    plain, watched = summary_of(slow=False), summary_of(slow=True)
    seen = [(each.mean_ns, each.percentiles_ns[50], each.largest_ns) for each in (*plain.latencies, plain.step)]
    assert [
        (each.mean_ns, each.percentiles_ns[50], each.largest_ns) for each in (*watched.latencies, watched.step)
    ] == [tuple(pytest.approx(value) if value is not None else None for value in values) for values in seen]
    assert watched.step.count == STEPS - (LAST + 1 - FIRST)
    assert all(0 < mine.count < theirs.count for mine, theirs in zip(watched.latencies, plain.latencies, strict=True))
    _, steps, requests = recorded(slow=True)
    counted = {each.name: each.largest_ns for each in latencies(steps, requests, None)}
    assert counted["decode"] == pytest.approx(19 * 100 * MS, rel=0.06)  # what the window would have made of it


def test_a_held_load_leaves_it_out_as_well() -> None:
    _, steps, requests = recorded(slow=True)
    span = (steps["start_ns"][FIRST].as_py() + 1, steps["start_ns"][LAST + 1].as_py() - 1)
    work = {"concurrency": 10, "num_prompts": 100}
    found = [held_load(work, steps, requests, None, profiled) for profiled in (span, None)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].output_tokens_per_s == 1_000
    assert found[1].output_tokens_per_s == pytest.approx(4_000 / 5.8)


def test_a_window_that_touches_every_step_leaves_out_nothing() -> None:
    _, steps, _ = recorded(slow=False)
    assert left_out_time(steps, (0, 10_000 * MS)) is None
    assert left_out_time(steps, None) is None
