"""The part of a run after its warm-up: between the first whole answer and the last arrival."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from engine_probe.analysis.run.after_warm_up import AfterWarmUp, after_warm_up
from engine_probe.analysis.run.summary import summarise
from engine_probe.analysis.run.token_times import update_end_ns

MS = 1_000_000
Make = Callable[..., pa.Table]
FACTS: dict[str, Any] = {"kv": {"blocks": 100, "prefix_caching": False}}


def request(arrival: int, last: int, reason: str = "length") -> dict[str, Any]:
    """Its first token 10 ms after it came; times in ms, steps take 10."""
    return {
        "arrival_ns": arrival * MS,
        "queued_ns": arrival * MS,
        "first_scheduled_ns": arrival * MS,
        "first_token_ns": (arrival + 10) * MS,
        "last_token_ns": last * MS,
        "finished_ns": last * MS,
        "output_tokens": (last - arrival) // 10,
        "finish_reason": reason,
        "run_starts": [arrival // 10],
        "run_lengths": [(last - arrival) // 10],
    }


def one_each(every: int, lasting: int, count: int) -> list[dict[str, Any]]:
    return [request(every * number, every * number + lasting) for number in range(count)]


def found(steps: pa.Table, rows: pa.Table) -> AfterWarmUp | None:
    return after_warm_up(0, update_end_ns(steps), steps["output_tokens"].to_numpy(), rows, rows)


def test_it_lasts_from_the_first_answer_to_the_last_arrival(iterations: Make, requests: Make) -> None:
    """Twenty requests, one each 50 ms, each of 100 ms: the first is whole at 100, the last comes at 950.

    Two tokens a step in between; arrivals from 150 to 950; answers from 150 to 950, one each 50 ms.
    """
    state = found(iterations(105, output_tokens=[1] * 5 + [2] * 95 + [1] * 5), requests(*one_each(50, 100, 20)))
    assert state is not None
    assert state.window == (100 * MS, 950 * MS)
    assert (state.since_start_s, state.seconds) == (0.1, 0.85)
    assert state.arrivals == 17
    assert state.output_tokens_per_s == pytest.approx(200)
    assert state.requests_per_s == pytest.approx(17 / 0.85)
    assert (state.half_width, state.changing) == (None, False)  # 85 steps are too few to say


def test_a_burst_has_none(iterations: Make, requests: Make) -> None:
    rows = requests(*(request(0, 1000) for _ in range(20)))
    assert found(iterations(100, output_tokens=[20] * 100), rows) is None


@pytest.mark.parametrize(("every", "count"), [(10, 20), (100, 10)], ids=["too few steps", "too few arrivals"])
def test_a_moment_is_none(iterations: Make, requests: Make, every: int, count: int) -> None:
    assert found(iterations(110, output_tokens=[1] * 110), requests(*one_each(every, 100, count))) is None


def test_throughput_that_falls_all_the_time_is_still_changing(iterations: Make, requests: Make) -> None:
    state = found(iterations(310, output_tokens=list(range(620, 0, -2))), requests(*one_each(50, 100, 60)))
    assert state is not None
    assert state.changing
    assert state.half_width is None


def with_noise(means: npt.NDArray[np.float64]) -> list[int]:
    """Draw tokens of steps with these means, ten at a time."""
    return [10 * int(tens) for tens in np.random.default_rng(1).poisson(means / 10)]


def test_a_warm_up_that_goes_on_is_told_with_what_it_adds(iterations: Make, requests: Make) -> None:
    """Throughput begins 60 % too high and comes down to 2,000 tokens/s with a time constant of 40 % of the run."""
    tokens = with_noise(20 * (1 + 0.6 * np.exp(-np.arange(1000) / 400)))
    state = found(iterations(1000, output_tokens=tokens), requests(*one_each(50, 100, 199)))
    assert state is not None
    assert state.changing
    assert state.warm_up_left is not None
    assert state.half_width is not None
    assert state.warm_up_left >= state.output_tokens_per_s - 2000 > 50
    assert state.half_width > state.warm_up_left


def test_a_whole_run_with_a_long_warm_up_differs_from_the_rest(iterations: Make, requests: Make) -> None:
    """Half the throughput in the first 40 % of the run: the whole run has 1,600 tokens/s, the rest 2,000."""
    tokens = with_noise(np.where(np.arange(1000) < 400, 10.0, 20.0))
    state = found(iterations(1000, output_tokens=tokens), requests(*one_each(50, 100, 199)))
    assert state is not None
    assert not state.changing
    assert state.output_tokens_per_s == pytest.approx(2000, rel=0.05)
    assert state.differs_from(sum(tokens) / 10)
    assert not state.differs_from(2001)


def test_the_rest_of_the_warm_up_is_cut_off(iterations: Make, requests: Make) -> None:
    """A second of one token a step after the first answer, then two."""
    tokens = [1] * 100 + [2] * 210
    state = found(iterations(310, output_tokens=tokens), requests(*one_each(50, 100, 60)))
    assert state is not None
    assert state.since_start_s == pytest.approx(1.0, abs=0.1)
    assert state.output_tokens_per_s == pytest.approx(200, rel=0.02)
    assert state.half_width is not None


def test_latencies_of_it_are_of_requests_that_came_in_it(iterations: Make, requests: Make) -> None:
    """The three that came before the first answer waited 40 ms longer; an aborted one is in no figure."""
    rows = one_each(50, 100, 20)
    for row in rows[:3]:
        row["first_token_ns"] += 40 * MS
    rows.append(request(300, 400, "abort"))
    summary = summarise(FACTS, "complete", [], iterations(105, output_tokens=[2] * 105), requests(*rows))
    whole, later = ({each.name: each for each in side} for side in (summary.latencies, summary.after_warm_up_latencies))
    assert (whole["TTFT"].count, later["TTFT"].count) == (20, 17)
    assert whole["TTFT"].percentiles_ns[90] == 50 * MS
    assert later["TTFT"].percentiles_ns[90] == 10 * MS
    assert summary.after_warm_up is not None
    assert summary.after_warm_up.requests_per_s == pytest.approx(17 / 0.85)


def test_a_run_without_it_has_no_figures_of_it(iterations: Make, requests: Make) -> None:
    summary = summarise(FACTS, "complete", [], iterations(10, output_tokens=[1] * 10), requests(request(0, 100)))
    assert summary.after_warm_up is None
    assert summary.after_warm_up_latencies == ()
