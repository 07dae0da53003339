"""The part of a run in which its load was held, and which levels of a curve have one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.curve.held_load import HeldLoad, held_load
from engine_probe.analysis.run.after_warm_up import AfterWarmUp
from engine_probe.record.run_folder import COMPLETE
from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import load_sweep
from tests.support.recordings.run_folders import facts, ran, write_run

MS = 1_000_000
TWO_AT_ONCE = {"concurrency": 2, "num_prompts": 6}
Make = Callable[..., pa.Table]


def answers(requests: Make, *at: int, reason: str = "length") -> pa.Table:
    return requests(*({"last_token_ns": each * MS, "finish_reason": reason} for each in at))


def test_it_lasts_from_the_first_to_the_last_step_with_so_many_in_flight(iterations: Make, requests: Make) -> None:
    """Two in flight from the second step to the eighth, once one of them waiting; steps of 10 ms, tokens 2 to 8."""
    running, waiting = [1, 2, 2, 1, 2, 2, 2, 2, 1, 1], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    steps = iterations(10, running_requests=running, waiting_requests=waiting, output_tokens=list(range(1, 11)))
    held = held_load(TWO_AT_ONCE, steps, answers(requests, 30, 40, 60, 80, 90, 100), None)
    assert held == HeldLoad(10 * MS, 80 * MS, 4, pytest.approx((2 + 3 + 4 + 5 + 6 + 7 + 8) / 0.07))


def test_it_takes_two_answers_for_each_request_in_flight(iterations: Make, requests: Make) -> None:
    steps = iterations(10, running_requests=[2] * 8 + [1] * 2)
    assert held_load(TWO_AT_ONCE, steps, answers(requests, 30, 40, 60, 90, 100), None) is None
    assert held_load(TWO_AT_ONCE, steps, answers(requests, 30, 40, 60, 80, reason="abort"), None) is None


def test_a_load_that_was_never_reached_was_not_held(iterations: Make, requests: Make) -> None:
    steps = iterations(10, running_requests=[2] * 10)
    assert held_load({"concurrency": 3, "num_prompts": 2}, steps, answers(requests, *range(10, 100, 10)), None) is None


@pytest.mark.parametrize(
    "arrivals",
    [{"kind": "open_loop", "request_rate": 20.0}, {"kind": "closed_loop", "users": 3, "think_seconds": 0.1}],
    ids=["rate", "users who think"],
)
def test_other_loads_are_held_after_the_warm_up(iterations: Make, requests: Make, arrivals: dict[str, Any]) -> None:
    steps = iterations(10, running_requests=[1] * 10, output_tokens=list(range(1, 11)))
    later = AfterWarmUp(20 * MS, 85 * MS, 0.02, 10, 0.0, None, False, None, 0.0)
    held = held_load({"arrivals": arrivals}, steps, answers(requests, 20, 50), later)
    assert held == HeldLoad(20 * MS, 80 * MS, 1, pytest.approx((3 + 4 + 5 + 6 + 7 + 8) / 0.06))
    assert held_load({"arrivals": arrivals}, steps, answers(requests, 20, 50), None) is None


def test_users_who_do_not_think_are_requests_in_flight(iterations: Make, requests: Make) -> None:
    steps = iterations(10, running_requests=[1] + [2] * 8 + [1])
    users = {"arrivals": {"kind": "closed_loop", "users": 2, "spread_seconds": 0.01}}
    held = held_load(users, steps, answers(requests, 30, 40, 60, 90), None)
    assert held is not None
    assert (held.begin_ns, held.end_ns) == (10 * MS, 90 * MS)


@pytest.fixture
def swept(tmp_path: Path) -> Callable[[dict[int, int]], Path]:
    """A sweep over concurrency, with so many further requests at each level."""

    def write(later: dict[int, int]) -> Path:
        points = []
        for load, more in later.items():
            write_run(tmp_path / "points" / f"p{load}", ran(load, blocks=40, later=more), facts(40))
            work = {"concurrency": load, "num_prompts": load + more}
            points.append({"id": f"p{load}", "point": {"workload": work}, "status": COMPLETE})
        (tmp_path / "sweep.json").write_text(json.dumps({"sweep": {"question": "?"}, "points": points}))
        return tmp_path

    return write


@pytest.mark.lengthy
def test_a_curve_has_the_levels_that_were_held_and_says_which_were_not(swept: Callable[..., Path]) -> None:
    (curve,) = curves(load_sweep(swept({1: 8, 2: 8, 4: 16, 8: 4})).points)
    assert [level.load for level in curve.found.levels] == [1, 2, 4]
    for level, point in zip(curve.found.levels, curve.figures, strict=False):
        assert point.held is not None
        assert level.output_tokens_per_s == point.held.output_tokens_per_s
    assert curve.found.kv.reached == 8, "that the pool was full is known all the same"
    assert any(note.startswith("at 8 the load was held for too short a time") for note in curve.found.notes)


def test_a_curve_of_batches_has_whole_runs_and_says_so(swept: Callable[..., Path]) -> None:
    (curve,) = curves(load_sweep(swept({1: 0, 2: 0, 4: 0})).points)
    whole = [point.summary.output_tokens_per_s for point in curve.figures]
    assert [level.output_tokens_per_s for level in curve.found.levels] == whole
    assert any("whole runs" in note for note in curve.found.notes)


def test_the_end_with_fewer_requests_does_not_lower_a_level(swept: Callable[..., Path]) -> None:
    """Fifteen requests for four at once end with three of them, which the whole run counts and the level does not."""
    (curve,) = curves(load_sweep(swept({1: 8, 4: 11})).points)
    level, point = curve.found.levels[1], curve.figures[1]
    assert level.output_tokens_per_s > 1.02 * point.summary.output_tokens_per_s
