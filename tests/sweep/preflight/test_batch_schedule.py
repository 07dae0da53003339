"""The scheduler in miniature counts the steps that a point takes, and what it keeps in the pool."""

from __future__ import annotations

import math

import pytest

from engine_probe.engine.twin.step_work import StepWork
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.asked_requests import AskedRequest, AskedRequests, asked_requests
from engine_probe.sweep.preflight.batch_schedule import SECOND_NS, BatchLimits, Schedule
from engine_probe.sweep.preflight.pool_demand import fewest_steps, peak_tokens
from engine_probe.sweep.preflight.recorded_prices import schedule
from engine_probe.workload.request_plan import Loop

UNLIMITED = BatchLimits(math.inf, math.inf, math.inf)


def second(work: StepWork) -> float:
    return SECOND_NS


def burst(count: int, prompt: int, answer: int, users: int) -> AskedRequests:
    each = AskedRequest(0, 0, prompt, answer, 0.0)
    return AskedRequests([[each]] * count, [None] * count, [0.0] * count, count, users, Loop(users, 0, 0))


@pytest.mark.parametrize(
    ("limits", "steps", "peak"),
    [
        (UNLIMITED, 2 * 5, 2 * 15),
        (UNLIMITED._replace(requests=1), 4 * 5, 15),
        (UNLIMITED._replace(pool_tokens=29), 4 * 5, 15),
        (UNLIMITED._replace(tokens=10), 13, 15 + 13),  # a prompt beside an answer takes two steps
        (UNLIMITED._replace(tokens=5), 16, 15 + 12),  # two alone, and three beside an answer
        (UNLIMITED._replace(answers=1), 5, 2 * 15),
    ],
)
def test_four_requests_of_two_users(limits: BatchLimits, steps: int, peak: int) -> None:
    found = Schedule(burst(4, 10, 5, 2), limits, second).run()
    assert found is not None
    assert (round(found.seconds), found.peak_tokens) == (steps, peak)


def test_a_step_is_priced_by_what_is_in_it() -> None:
    """Prompts of 10 and answers of 5: a step of 55 pairs, then contexts of 11 to 14."""
    found = Schedule(burst(1, 10, 5, 1), UNLIMITED, lambda work: 1e9 * (work.prompt_pairs + work.answer_context)).run()
    assert found is not None
    assert found.seconds == pytest.approx(55 + 4 * 12.5, abs=4)


def test_a_turn_waits_for_its_pause_and_an_arrival_for_its_time() -> None:
    turns = [AskedRequest(0, 0, 10, 5, 0.0), AskedRequest(0, 15, 10, 5, 7 * SECOND_NS)]
    found = Schedule(
        AskedRequests([turns, turns[:1]], [0.0, 40 * SECOND_NS], [0.0, 0.0], 2, None), UNLIMITED, second
    ).run()
    assert found is not None
    assert found.seconds == 40 + 5
    assert found.peak_tokens == 30


@pytest.mark.parametrize("name", ["concurrency_gpt2_xl", "kv_pressure", "probe_overhead"])
def test_it_counts_what_the_exact_simulation_of_drawn_lengths_counts(name: str) -> None:
    for point in points(read_sweep(name))[::3]:
        asked = asked_requests(point)
        assert asked is not None
        found = schedule(point, asked, second, pool=False)
        assert found is not None
        assert found.peak_tokens == peak_tokens(point)
        assert round(found.seconds) == (fewest_steps(point) or found.seconds)


def test_prompts_that_are_there_already_are_computed_once() -> None:
    prompts = points(read_sweep("integrity"))[0]
    asked = asked_requests(prompts)
    assert asked is not None
    assert len({len(session) for session in asked.sessions}) == 1
    first, second = (session[0] for session in asked.sessions[:2])
    assert first.shared == 0
    assert second.shared % 32 == 0
    assert second.shared > 0
    without = Point(EngineSection("smollm2", {"enable_prefix_caching": False}), prompts.workload)
    uncached = asked_requests(without)
    assert uncached is not None
    assert all(turn.shared == 0 for session in uncached.sessions for turn in session)


@pytest.mark.lengthy
def test_what_no_file_here_tells_is_not_guessed() -> None:
    (point,) = {
        one.workload.load: one for one in points(read_sweep("h100_alpaca", ["workload.concurrency=1"]))
    }.values()
    assert asked_requests(point) is None
    assert asked_requests(Point(EngineSection("tiny"), WorkloadSection(16, 4, 100_000))) is not None
