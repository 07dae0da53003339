"""When the driver hands over each request, to the nanosecond, with the test's clock."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from engine_probe.files.stored_list import StoredList
from engine_probe.record.outside_values import Misfits, batch_of_rows
from engine_probe.record.schema import STREAMS, AnswerOutcome
from engine_probe.workload import request_plan
from engine_probe.workload.answers import AnswerLog, KeepAnswers, Tokens, best_two, checksum
from engine_probe.workload.arrivals import Arrivals, Burst, ClosedLoop, Constant, OpenLoop, Steps
from engine_probe.workload.driver import NO_STOP
from engine_probe.workload.lengths import Uniform
from engine_probe.workload.prompts import Conversations, RandomPrompts
from engine_probe.workload.request_plan import Plan, Request, Session, make_plan
from engine_probe.workload.stop import Stop
from engine_probe.workload.workload_spec import Sampling, Workload
from tests.support.engines.simulated_engine import ANSWER, MS, START_NS, Followed, World, after_ms


def planned(arrivals: Arrivals, count: int, answer: int = 1, **more: object) -> Plan:
    return make_plan(Workload(RandomPrompts(4), arrivals, output_len=answer, num_prompts=count, **more))


def moments(outcome: Followed) -> list[tuple[float | None, ...]]:
    """Of each request: planned, handed over, finished, in ms after the start."""
    return [(after_ms(d.planned_ns), after_ms(d.handed_ns), after_ms(d.finished_ns)) for d in outcome.deliveries]


def test_a_burst_is_in_the_engine_before_its_first_step() -> None:
    world = World()
    outcome = world.drive(planned(Burst(), 3, answer=2))
    assert moments(outcome) == [(0, 0, 20)] * 3
    assert world.steps == 2
    assert world.slept_ms == []


def test_what_comes_due_while_it_generates_joins_before_the_next_step() -> None:
    """Every 25 ms, steps of 10 ms: the second comes at 25 and is handed over at 30."""
    world = World()
    outcome = world.drive(planned(Constant(40), 3, answer=4))
    assert moments(outcome) == [(0, 0, 40), (25, 30, 70), (50, 50, 90)]
    assert [delivery.lateness_ns for delivery in outcome.deliveries] == [0, 5 * MS, 0]


def test_an_idle_driver_sleeps_once_until_the_next_arrival() -> None:
    world = World()
    outcome = world.drive(planned(Constant(10), 3))
    assert moments(outcome) == [(0, 0, 10), (100, 100, 110), (200, 200, 210)]
    assert world.slept_ms == [90, 90]


def test_a_closed_loop_holds_so_many_in_flight_to_the_last() -> None:
    world = World()
    outcome = world.drive(planned(ClosedLoop(2), 5, answer=3))
    assert world.most == 2
    assert moments(outcome) == [(0, 0, 30), (0, 0, 30), (30, 30, 60), (30, 30, 60), (60, 60, 90)]


def test_further_requests_hold_the_load_until_the_last_measured_one_is_answered() -> None:
    """Three of five are measured. A request is two steps of 10 ms, so that one that follows is in flight at the end."""
    world = World()
    outcome = world.drive(planned(ClosedLoop(2), 5, answer=2, measured=3))
    assert moments(outcome) == [(0, 0, 20), (0, 0, 20), (20, 20, 40), (20, 20, 40)]
    assert (outcome.why, outcome.never_handed, outcome.aborted, outcome.further) == ("answered", 0, 0, 1)


def test_a_further_request_in_flight_at_the_end_is_aborted_and_is_none_that_was_lost() -> None:
    """Answers of 2, 6 and then 4 tokens: the second user is answered at 60, the first one's third request is not."""
    plan = make_plan(Workload(RandomPrompts(4), ClosedLoop(2), output_len=1, num_prompts=6, measured=2))
    lengths = iter((2, 6, 3, 4, 4, 4))
    sessions = [msgspec.structs.replace(each, requests=[with_answer(each, next(lengths))]) for each in plan.sessions]
    world = World()
    outcome = world.drive(msgspec.structs.replace(plan, sessions=sessions))
    assert moments(outcome) == [(0, 0, 20), (0, 0, 60), (20, 20, 50), (50, 50, None)]
    assert [each.request_id for each in outcome.deliveries] == ["0", "1", "further-2", "further-3"]
    assert world.aborted == ["further-3"]
    assert (outcome.further, outcome.aborted, outcome.never_handed) == (2, 0, 0)


def with_answer(session: Session, length: int) -> Request:
    return msgspec.structs.replace(session.requests[0], output_len=length)


def test_a_stop_before_the_last_measured_answer_leaves_measured_requests_over() -> None:
    world = World()
    outcome = world.drive(planned(ClosedLoop(2), 6, answer=2, measured=4), Stop(requests=2))
    assert (outcome.why, outcome.aborted, outcome.never_handed, outcome.further) == ("requests", 0, 2, 0)


def test_more_users_than_requests_and_no_request_at_all() -> None:
    world = World()
    world.drive(planned(ClosedLoop(9), 2))
    assert list(world.asked) == ["0", "1"]


def test_a_user_who_thinks_is_not_a_request_in_flight() -> None:
    """Two users, 20 ms of answer, 60 ms of thought: each has a request in flight a quarter of the time."""
    world = World()
    outcome = world.drive(planned(ClosedLoop(2, think_seconds=0.06), 4, answer=2))
    assert moments(outcome) == [(0, 0, 20), (0, 0, 20), (80, 80, 100), (80, 80, 100)]
    assert world.slept_ms == [60]


def test_a_hundred_users_of_a_request_each_40_s_that_takes_20_s_are_50_at_once() -> None:
    world = World(step_ms=400)
    loop = ClosedLoop(100, pace_seconds=40, spread_seconds=40)
    outcome = world.drive(planned(loop, 400, answer=50))
    middle_ns = START_NS + 100_000 * MS
    alive = [one for one in outcome.deliveries if one.handed_ns <= middle_ns < (one.finished_ns or 0)]
    assert len(alive) == 50
    assert {one.lateness_ns for one in outcome.deliveries} == {0}


def test_a_pace_that_the_engine_cannot_keep_waits_for_the_answer() -> None:
    world = World()
    outcome = world.drive(planned(ClosedLoop(1, pace_seconds=0.01), 2, answer=5))
    assert moments(outcome) == [(0, 0, 50), (50, 50, 100)]


def test_a_limit_in_front_of_the_engine_makes_late_what_arrives_in_time() -> None:
    world = World()
    outcome = world.drive(planned(Burst(), 3, answer=2, max_concurrency=1))
    assert world.most == 1
    assert moments(outcome) == [(0, 0, 20), (0, 20, 40), (0, 40, 60)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_is_everything_said_before_and_what_is_new(stream: bool) -> None:
    world = World(stream=stream)
    conversations = Conversations(turns=3, input_len=4, system_len=2, pause_seconds=0.05)
    plan = make_plan(Workload(conversations, Burst(), output_len=2, num_prompts=2))
    outcome = world.drive(plan)
    first, second, third = (request.prompt_token_ids for request in plan.sessions[0].requests)
    answer = [ANSWER, ANSWER]
    assert world.asked["0.0"] == first
    assert world.asked["0.1"] == first + answer + second
    assert world.asked["0.2"] == first + answer + second + answer + third
    assert len(first) == 6
    assert moments(outcome)[::2] == [(0, 0, 20), (70, 70, 90), (140, 140, 160)]


def test_when_the_time_is_up_nothing_more_is_handed_over_and_the_rest_is_aborted() -> None:
    world = World()
    outcome = world.drive(planned(ClosedLoop(2), 9, answer=3), Stop(seconds=0.045))
    assert moments(outcome) == [(0, 0, 30), (0, 0, 30), (30, 30, None), (30, 30, None)]
    assert world.aborted == ["2", "3"]
    assert (outcome.aborted, outcome.never_handed, outcome.why) == (2, 5, "seconds")
    assert after_ms(outcome.ended_ns) == 50  # the step in which the time ran out is finished


def test_the_time_also_ends_while_nobody_asks() -> None:
    world = World()
    outcome = world.drive(planned(Constant(1), 5), Stop(seconds=1.5))
    assert after_ms(outcome.ended_ns) == 1500
    assert outcome.never_handed == 3


def test_it_ends_with_the_last_of_so_many_answers_and_the_load_is_held_until_then() -> None:
    world = World()
    outcome = world.drive(planned(ClosedLoop(2), 9, answer=3), Stop(requests=4))
    assert (outcome.why, outcome.steps, after_ms(outcome.ended_ns)) == ("requests", 6, 60)
    assert (outcome.aborted, outcome.never_handed) == (0, 5)


def test_the_steady_check_sees_every_answer_and_can_end_the_run() -> None:
    world, seen = World(), list[tuple[list[int], int]]()

    def is_steady(finished_ns: Sequence[int], in_flight: int) -> bool:
        seen.append(([(moment - START_NS) // MS for moment in finished_ns], in_flight))
        return len(seen) == 5

    outcome = world.drive(planned(ClosedLoop(2), 9, answer=3), is_steady=is_steady)
    assert seen == [([], 0), ([], 2), ([], 2), ([30, 30], 0), ([30, 30], 2)]
    assert (outcome.why, outcome.aborted, outcome.never_handed) == ("steady", 2, 5)


def test_when_nothing_ends_it_everything_is_answered() -> None:
    assert World().drive(planned(ClosedLoop(2), 3)).why == "answered"


def test_an_interrupted_run_leaves_no_request_behind() -> None:
    world = World()
    with world.interrupted_at(2), pytest.raises(KeyboardInterrupt):
        world.drive(planned(Burst(), 2, answer=5))
    assert sorted(world.aborted) == ["0", "1"]
    assert world.left == {}


def test_an_open_loop_is_handed_over_in_the_order_of_its_arrivals() -> None:
    world = World()
    outcome = world.drive(planned(OpenLoop(50), 200, answer=3))
    assert [one.planned_ns for one in outcome.deliveries] == sorted(one.planned_ns for one in outcome.deliveries)
    assert all(0 <= one.lateness_ns < 10 * MS for one in outcome.deliveries)
    assert after_ms(outcome.deliveries[-1].planned_ns) == 4000


@pytest.mark.parametrize(
    "arrivals", [Burst(), ClosedLoop(7, think_seconds=0.02), OpenLoop(300), Steps([3, 7], requests=20)]
)
def test_a_plan_in_a_temporary_file_is_driven_like_one_in_memory(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Workload(
        Conversations(turns=2, input_len=4), arrivals, output_len=Uniform(1, 9), num_prompts=200, measured=150
    )
    held = World().drive(make_plan(asked))
    monkeypatch.setattr(request_plan, "MOST_HELD", 10)
    stored = make_plan(asked)
    assert isinstance(stored.sessions, StoredList)
    again = World().drive(stored)
    assert again == held
    assert len(held.deliveries) >= 300


def test_levels_of_users_follow_one_another_after_a_pause() -> None:
    """One user, a stop of 50 ms, two users; each asks twice, and an answer takes 20 ms."""
    world = World()
    outcome = world.drive(planned(Steps([1, 2], pause_seconds=0.05, requests=2), 6, answer=2))
    assert moments(outcome) == [
        *((0, 0, 20), (20, 20, 40)),
        *((90, 90, 110), (90, 90, 110), (110, 110, 130), (110, 110, 130)),
    ]
    assert world.slept_ms == [50]
    levels = [(level.users, after_ms(level.started_ns), after_ms(level.ended_ns)) for level in outcome.levels]
    assert levels == [(1, 0, 40), (2, 90, 130)]


def test_a_level_ends_with_its_deadlines_too_and_one_that_was_cut_has_no_end() -> None:
    plan = planned(Steps([2, 1], pause_seconds=0.01), 3, answer=9, deadline_seconds=0.03)
    outcome = World().drive(plan, Stop(seconds=0.055))
    levels = [(level.users, after_ms(level.started_ns), after_ms(level.ended_ns)) for level in outcome.levels]
    assert levels == [(2, 0, 30), (1, 40, None)]


# ---- deadlines and failures -----------------------------------------------------------------------------


def test_a_request_is_aborted_before_the_step_that_would_begin_after_its_deadline() -> None:
    """Answers of 3 tokens take 30 ms; 25 ms after each hand-over nothing is whole, and the users go on."""
    world = World()
    outcome = world.drive(planned(ClosedLoop(2), 4, answer=3, deadline_seconds=0.025))
    assert moments(outcome) == [(0, 0, 30), (0, 0, 30), (30, 30, 60), (30, 30, 60)]  # whole when the driver looks
    outcome = World().drive(planned(ClosedLoop(2), 4, answer=4, deadline_seconds=0.025))
    assert moments(outcome) == [(0, 0, None), (0, 0, None), (30, 30, None), (30, 30, None)]
    assert outcome.measured == {AnswerOutcome.DEADLINE: 4}
    assert (outcome.why, after_ms(outcome.ended_ns), outcome.aborted, outcome.never_handed) == ("answered", 60, 0, 0)


def test_a_deadline_counts_from_the_hand_over_and_not_from_the_plan() -> None:
    world = World()
    outcome = world.drive(planned(Burst(), 3, answer=2, max_concurrency=1, deadline_seconds=0.03))
    assert moments(outcome) == [(0, 0, 20), (0, 20, 40), (0, 40, 60)]


def test_a_deadline_of_a_request_that_was_answered_aborts_nothing() -> None:
    world = World()
    world.drive(planned(Constant(20), 5, answer=1, deadline_seconds=0.05))
    assert world.aborted == []


def test_a_conversation_ends_with_the_turn_that_was_not_answered() -> None:
    world = World()
    conversations = Conversations(turns=3, input_len=4)
    plan = make_plan(Workload(conversations, Burst(), output_len=5, num_prompts=2, deadline_seconds=0.03))
    outcome = world.drive(plan)
    assert list(world.asked) == ["0.0", "1.0"]
    assert (outcome.not_asked, outcome.never_handed) == (4, 0)
    assert outcome.measured == {AnswerOutcome.DEADLINE: 2}


def test_what_vllm_ends_without_an_answer_has_failed() -> None:
    world = World()
    world.reasons = {"1": "error"}
    outcome = world.drive(planned(Burst(), 3, answer=2))
    assert moments(outcome) == [(0, 0, 20), (0, 0, None), (0, 0, 20)]
    assert outcome.measured == {AnswerOutcome.ANSWERED: 2, AnswerOutcome.FAILED: 1}


# ---- what is kept of the answers ------------------------------------------------------------------------


def kept(world: World, plan: Plan, keep: KeepAnswers, stop: Stop = NO_STOP) -> list[dict[str, Any]]:
    """Drive a plan and return the rows of its answers."""
    rows: list[tuple[Any, ...]] = []
    world.drive(plan, stop, answers=AnswerLog(rows.append, keep, world.so_far))
    return table_of(rows).to_pylist()


def table_of(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    return batch_of_rows(rows, STREAMS["answers"], "answers", Misfits())


@pytest.mark.parametrize("stream", [False, True])
def test_each_request_has_a_row_with_its_outcome_and_the_tokens_it_got(stream: bool) -> None:
    """The first ends after 20 ms, the third is aborted at its deadline of 30 ms, and the last one by the stop."""
    plan = planned(Constant(40), 3, answer=2, deadline_seconds=0.03, sampling=Sampling(stream=stream))
    lengths = iter((2, 9, 9))
    sessions = [msgspec.structs.replace(each, requests=[with_answer(each, next(lengths))]) for each in plan.sessions]
    plan = msgspec.structs.replace(plan, sessions=sessions)
    rows = kept(World(stream=stream), plan, KeepAnswers("tokens"), Stop(seconds=0.07))
    assert [(row["request_id"], row["prompt_id"], row["outcome"], row["token_ids"]) for row in rows] == [
        ("0-internal", "0", "answered", [ANSWER] * 2),
        ("1-internal", "1", "deadline", [ANSWER] * 3),
        ("2-internal", "2", "stopped", [ANSWER] * 2),
    ]
    assert [row["answer_crc32"] for row in rows] == [checksum([ANSWER] * count) for count in (2, 3, 2)]
    prompts = [session.requests[0].prompt_token_ids for session in plan.sessions]
    assert [row["prompt_crc32"] for row in rows] == [checksum(prompt) for prompt in prompts]


def test_tokens_are_not_kept_unless_asked_and_streamed_answers_then_have_no_checksum() -> None:
    rows = kept(World(), planned(Burst(), 2, answer=2), KeepAnswers())
    assert [(row["token_ids"], row["answer_crc32"]) for row in rows] == [(None, checksum([ANSWER] * 2))] * 2
    streamed = planned(Burst(), 1, answer=2, sampling=Sampling(stream=True))
    (row,) = kept(World(stream=True), streamed, KeepAnswers())
    assert (row["token_ids"], row["answer_crc32"], row["outcome"]) == (None, None, "answered")


def test_text_is_decoded_from_the_tokens_and_the_question_is_named() -> None:
    plan = planned(Burst(), 1, answer=2)
    request = msgspec.structs.replace(plan.sessions[0].requests[0], question_id="capital")
    plan = msgspec.structs.replace(plan, sessions=[msgspec.structs.replace(plan.sessions[0], requests=[request])])
    world, rows = World(), list[tuple[Any, ...]]()
    world.drive(plan, answers=AnswerLog(rows.append, KeepAnswers("text"), world.so_far, lambda ids: f"{ids}"))
    (row,) = table_of(rows).to_pylist()
    assert (row["text"], row["question_id"]) == ("[7, 7]", "capital")


def test_the_second_best_token_is_the_best_one_that_was_not_chosen() -> None:
    """vLLM gives the chosen token first and then the two most probable, of which it may be one."""
    tokens = Tokens()
    for chosen, likely, logprobs in ((5, [5, 8], [-0.1, -0.1, -3.0]), (9, [4, 6], [-4.0, -0.5, -1.5])):
        tokens.token_ids.append(chosen)
        tokens.add_logprobs(SimpleNamespace(token_ids=[chosen, *likely], logprobs=logprobs))
    mine, second, theirs = (None if each is None else each.tolist() for each in best_two(tokens))
    assert (mine, second) == ([pytest.approx(-0.1), -4.0], [8, 4])
    assert theirs == [-3.0, -0.5]
    tokens.token_ids.append(1)  # one place without
    assert best_two(tokens) == (None, None, None)
