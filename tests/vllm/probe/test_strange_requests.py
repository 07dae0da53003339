"""What clients give a real engine: one request with strange values harms no other, and no table."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from engine_probe import Probe, Run
from tests.support.engines.fixed_prompts import greedy, prompt


def drive(engine: Any, count: int) -> None:
    """Until so many requests are finished."""
    while count:
        count -= sum(output.finished for output in engine.step())


def recorded(llm: Any, out: Path, strange: dict[str, Any], request_id: str = "strange") -> Run:
    engine = llm.llm_engine
    with Probe(llm, out) as probe:
        engine.add_request("before", prompt(0, 20), greedy(6))
        engine.add_request(request_id, prompt(1, 20), greedy(6), **strange)
        engine.add_request("after", prompt(2, 20), greedy(6))
        drive(engine, 3)
    return probe.run


@pytest.mark.parametrize("priority", [2305843009213693952, 2**63, -(2**80)])
def test_any_priority(tiny_llm: Any, tmp_path: Path, priority: int) -> None:
    run = recorded(tiny_llm, tmp_path / "run", {"priority": priority})
    assert run.status == "complete"
    assert run.requests.num_rows == 3
    assert max(-(2**63), min(2**63 - 1, priority)) in run.requests["priority"].to_pylist()
    assert bool(run.notes) == (abs(priority) >= 2**63)


@pytest.mark.parametrize("arrival", [0.0, -1.0, 1e300, float("nan"), float("inf")])
def test_any_arrival(tiny_llm: Any, tmp_path: Path, arrival: float) -> None:
    run = recorded(tiny_llm, tmp_path / "run", {"arrival_time": arrival})
    assert run.status == "complete"
    assert run.notes == []
    known = {row["request_id"].split("-")[0]: row["arrival_ns"] for row in run.requests.to_pylist()}
    assert known["strange"] is None
    assert known["before"] is not None
    assert known["after"] is not None


def test_several_sequences_of_a_request_are_one_request(tiny_llm: Any, tmp_path: Path) -> None:
    from vllm import SamplingParams

    asked = [SamplingParams(n=n, temperature=1.0, max_tokens=4, ignore_eos=True) for n in (3, 1, 2)]
    with Probe(tiny_llm, tmp_path / "run") as probe:
        tiny_llm.generate([prompt(number, 20) for number in range(3)], asked, use_tqdm=False)
    summary = probe.run.summary()
    assert (summary.requests_answered, summary.sequences_answered) == (3, 6)
    assert (summary.prompt_tokens, summary.answer_tokens) == (3 * 20, 6 * 4)


def test_an_id_that_is_no_text(tiny_llm: Any, tmp_path: Path) -> None:
    run = recorded(tiny_llm, tmp_path / "run", {}, "strange\ud800")
    assert run.status == "complete"
    assert sum(r"strange\ud800" in name for name in run.requests["request_id"].to_pylist()) == 1
    assert run.requests.num_rows == 3


def test_requests_added_by_another_thread(tiny_llm: Any, tmp_path: Path) -> None:
    """The thread that adds is held between vLLM's taking a request and the probe's hearing of it, for some steps."""
    engine = tiny_llm.llm_engine
    scheduler = engine.engine_core.engine_core.scheduler
    taken, may_go_on = threading.Event(), threading.Event()
    take = type(scheduler).add_request

    def held(request: Any, *args: Any, **kwargs: Any) -> None:
        take(scheduler, request, *args, **kwargs)
        if threading.current_thread() is not threading.main_thread():
            taken.set()
            may_go_on.wait(60)

    scheduler.add_request = held
    try:
        with Probe(tiny_llm, tmp_path / "run") as probe:
            engine.add_request("0", prompt(0, 20), greedy(30))
            engine.step()
            adder = threading.Thread(target=engine.add_request, args=("1", prompt(1, 20), greedy(10)))
            adder.start()
            assert taken.wait(60)
            for _ in range(3):
                engine.step()
            may_go_on.set()
            adder.join()
            drive(engine, 2)
    finally:
        del scheduler.add_request
    run = probe.run
    assert run.status == "complete"
    assert run.requests.num_rows == 2
    assert sum(run.iterations["arrived_requests"].to_pylist()) == 2
    assert [sum(row["run_lengths"]) for row in run.requests.to_pylist()] == [10, 30]


def test_turns_of_a_streaming_session(tiny_llm: Any, tmp_path: Path) -> None:
    """Between two turns the session waits without being freed or preempted; no counter keeps what it held."""
    from vllm.v1.request import Request

    core = tiny_llm.llm_engine.engine_core.engine_core

    def turn(first: int, *, resumable: bool = True) -> Any:
        parameters = greedy(4)
        hasher = core.request_block_hasher
        return Request("session", prompt(first, 20), parameters, None, block_hasher=hasher, resumable=resumable)

    with Probe(tiny_llm, tmp_path / "run") as probe:
        tiny_llm.llm_engine.add_request("beside", prompt(0, 20), greedy(30))
        core.scheduler.add_request(turn(1))
        for _ in range(8):
            tiny_llm.llm_engine.step()
        core.scheduler.add_request(turn(2))
        for _ in range(8):
            tiny_llm.llm_engine.step()
        core.scheduler.add_request(turn(3, resumable=False))  # which ends the session
        drive(tiny_llm.llm_engine, 1)
    run = probe.run
    assert run.status == "complete", run.facts
    assert run.facts["close"]["turns_of_streaming_sessions"] == 2
    assert any("2 turns of streaming sessions" in note for note in run.notes)
    steps = run.iterations.to_pylist()
    flows = ("arrived_requests", "new_requests", "left_running_requests", "left_waiting_requests")
    arrived, new, left_running, left_waiting = (sum(step[name] for step in steps) for name in flows)
    # The request that finishes in the last step has left in no step after it.
    assert (arrived, new, left_running + left_waiting) == (4, 3, 3)
    assert steps[-1]["running_requests"] == 1
    assert {row["request_id"].split("-")[0] for row in run.requests.to_pylist()} == {"beside", "session"}
