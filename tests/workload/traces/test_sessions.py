"""Recorded sessions of agents: their turns, pauses and shared prefixes, and lines that are none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine_probe.errors import InputError
from engine_probe.workload.arrivals import ClosedLoop, Replay
from engine_probe.workload.driver import PlanOutcome
from engine_probe.workload.prompts import Conversations
from engine_probe.workload.request_plan import Plan, make_plan
from engine_probe.workload.traces.ideal_hits import ideal_hits
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_spec import Workload
from tests.support.engines.simulated_engine import World, after_ms
from tools.shipped_data import agent_trace

TWO: list[dict[str, Any]] = [
    {"session_id": "a", "timestamp": 1000, "input_length": 20, "output_length": 2, "hash_ids": [0, 1, 2]},
    {"session_id": "b", "timestamp": 1040, "input_length": 17, "output_length": 1, "hash_ids": [0, 1, 3]},
    {"session_id": "a", "delay": 100, "input_length": 4, "output_length": 3, "hash_ids": [4]},
    {"session_id": "a", "input_length": 5, "output_length": 1},
]


def trace(folder: Path, *lines: dict[str, Any]) -> Trace:
    path = folder / "agents.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return Trace(str(path), "sessions", block_tokens=8)


def handed(outcome: PlanOutcome) -> dict[str, tuple[float | None, float | None]]:
    return {each.request_id: (after_ms(each.handed_ns), after_ms(each.finished_ns)) for each in outcome.deliveries}


def lengths(plan: Plan) -> dict[str, tuple[int, int]]:
    return {
        one.id: (len(one.prompt_token_ids), one.output_len) for session in plan.sessions for one in session.requests
    }


def test_each_turn_holds_its_new_tokens_and_sessions_share_what_their_hashes_share(tmp_path: Path) -> None:
    plan = make_plan(Workload(trace(tmp_path, *TWO), Replay()))
    assert lengths(plan) == {"0.0": (20, 2), "0.1": (4, 3), "0.2": (5, 1), "1": (17, 1)}
    first, other = (session.requests[0].prompt_token_ids for session in plan.sessions)
    assert first[:16] == other[:16]
    assert first[16] != other[16]


def test_a_pause_begins_when_the_answer_before_is_there(tmp_path: Path) -> None:
    """Steps take 10 ms: a's first answer of two tokens ends at 20, its next turn is handed over 100 ms later."""
    world = World()
    outcome = world.drive(make_plan(Workload(trace(tmp_path, *TWO), Replay())))
    assert handed(outcome) == {"0.0": (0, 20), "1": (40, 50), "0.1": (120, 150), "0.2": (150, 160)}


def test_speed_shortens_arrivals_and_pauses(tmp_path: Path) -> None:
    outcome = World().drive(make_plan(Workload(trace(tmp_path, *TWO), Replay(speed=2))))
    assert handed(outcome) == {"0.0": (0, 20), "1": (20, 30), "0.1": (70, 100), "0.2": (100, 110)}


def test_with_one_user_sessions_follow_each_other_and_keep_their_pauses(tmp_path: Path) -> None:
    outcome = World().drive(make_plan(Workload(trace(tmp_path, *TWO), ClosedLoop(1))))
    assert handed(outcome) == {"0.0": (0, 20), "0.1": (120, 150), "0.2": (150, 160), "1": (160, 170)}


def test_num_prompts_counts_sessions_and_a_turn_without_an_answer_ends_its_session(tmp_path: Path) -> None:
    assert list(lengths(make_plan(Workload(trace(tmp_path, *TWO), Replay(), num_prompts=1)))) == ["0.0", "0.1", "0.2"]
    cut = make_plan(Workload(trace(tmp_path, TWO[0], {**TWO[2], "output_length": 0}, TWO[3]), Replay()))
    assert list(lengths(cut)) == ["0"]
    assert cut.notes == ["2 of 3 recorded requests had no answer and were left out"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ({"timestamp": 0}, ":2: session_id is None, expected the name of the request's session"),
        ({"session_id": "c"}, ":2: timestamp is None, expected a number"),
        ({"session_id": "a", "timestamp": 5}, ":2: a later turn of session a has a timestamp and no delay: give the"),
        ({"session_id": "a", "delay": -1}, ":2: delay is -1 ms, expected at least 0"),
        ({**TWO[2], "delay": 1e90}, "a request would arrive 1e+87 s after the start"),
        ({"session_id": "a", "delay": "1 s"}, ":2: delay is '1 s', expected a number"),
        ({"session_id": "a", "delay": 1, "input_length": 0}, ":2: input_length is 0, expected a whole number"),
        ({"session_id": "a", "delay": 1, "input_length": 1}, ":2: output_length is None, expected a whole number"),
        (
            {"session_id": "a", "delay": 1, "input_length": 1, "output_length": 1, "hash_ids": "x"},
            ":2: hash_ids is 'x'",
        ),
        (
            {"session_id": "c", "timestamp": 1, "input_length": 9, "output_length": 1, "hash_ids": [1]},
            ":2: 1 hash_ids for 9 tokens are not one for each 8",
        ),
    ],
)
def test_a_broken_line_is_refused_with_its_number(tmp_path: Path, line: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        make_plan(Workload(trace(tmp_path, TWO[0], line), Replay()))


def test_sessions_in_a_trace_of_single_requests_are_refused(tmp_path: Path) -> None:
    path = trace(tmp_path, *TWO).path
    with pytest.raises(InputError, match=r'agents\.jsonl:1: session_id is .* use format = "sessions"'):
        make_plan(Workload(Trace(path, "mooncake", block_tokens=8), Replay()))


def test_the_ideal_of_first_prompts_counts_whole_shared_blocks_but_never_the_last_token(tmp_path: Path) -> None:
    lines = [
        {"session_id": name, "timestamp": 0, "input_length": length, "output_length": 1, "hash_ids": hashes}
        for name, length, hashes in (("a", 20, [0, 1, 2]), ("b", 17, [0, 1, 3]), ("c", 16, [0, 1]), ("d", 8, [9]))
    ]
    plan = make_plan(Workload(trace(tmp_path, *lines), Replay()))
    assert ideal_hits(plan, 8) == {"0": 0, "1": 16, "2": 8, "3": 0}
    assert ideal_hits(plan, 16) == {"0": 0, "1": 16, "2": 0, "3": 0}
    assert ideal_hits(plan, 4) == {"0": 0, "1": 16, "2": 12, "3": 0}


def test_the_ideal_of_conversations_is_their_system_prompt() -> None:
    plan = make_plan(Workload(Conversations(2, 10, system_len=33), ClosedLoop(1), output_len=4, num_prompts=3))
    assert ideal_hits(plan, 16) == {"0.0": 0, "1.0": 32, "2.0": 32}


def test_the_shipped_trace_is_what_its_tool_writes() -> None:
    assert Trace("agents", "sessions").file.read_text(encoding="utf-8") == agent_trace.text()
    plan = make_plan(Workload(Trace("agents", "sessions", block_tokens=64), Replay()))
    assert len(plan.sessions) == agent_trace.SESSIONS
    hits = ideal_hits(plan, 32)
    assert sorted(set(hits.values()))[0] == 0
    assert sum(tokens >= agent_trace.SYSTEM_BLOCKS * agent_trace.BLOCK_TOKENS for tokens in hits.values()) == 15
