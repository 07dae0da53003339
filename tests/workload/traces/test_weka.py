"""Conversations of coding agents whose requests hold the whole context: what they share, their pauses, and bad ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine_probe.errors import InputError
from engine_probe.workload.arrivals import Burst, ClosedLoop
from engine_probe.workload.request_plan import Plan, make_plan, sizes
from engine_probe.workload.traces.ideal_hits import ideal_hits
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_spec import Workload
from tests.support.engines.simulated_engine import World, after_ms

FIRST = {"t": 0.0, "type": "s", "in": 20, "out": 2, "hash_ids": [1, 2, 3], "api_time": 0.5}
SECOND = {"t": 0.6, "type": "n", "in": 30, "out": 1, "hash_ids": [1, 2, 4, 5], "think_time": 0.1}
BURST = Burst()
THIRD = {"t": 0.9, "type": "s", "in": 16, "out": 1, "hash_ids": [1, 2], "think_time": 0.0}


def conversation(name: str, *requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": name, "block_size": 8, "requests": list(requests), **more}


def planned(folder: Path, *conversations: dict[str, Any], arrivals: Any = BURST) -> Plan:
    path = folder / "agents.jsonl"
    path.write_text("\n".join(map(json.dumps, conversations)))
    return make_plan(Workload(Trace(str(path), "weka"), arrivals))


def test_each_request_is_the_whole_context_and_shares_the_blocks_of_its_conversation(tmp_path: Path) -> None:
    plan = planned(tmp_path, conversation("a", FIRST, SECOND, THIRD))
    first, second, third = (request.prompt_token_ids for request in plan.sessions[0].requests)
    assert (len(first), len(second), len(third)) == (20, 30, 16)
    assert first[:16] == second[:16] == third
    assert first[16:20] != second[16:20]
    assert [(size.input_len, size.output_len) for size in sizes(plan)] == [(20, 2), (30, 1), (16, 1)]
    assert ideal_hits(plan, 8) == {"0.0": 0, "0.1": 16, "0.2": 8}


def test_ids_mean_the_same_in_other_conversations_only_if_their_scope_is_global(tmp_path: Path) -> None:
    local = planned(tmp_path, conversation("a", FIRST), conversation("b", FIRST))
    shared = planned(tmp_path, *(conversation(name, FIRST, hash_id_scope="global") for name in "ab"))
    assert ideal_hits(local, 8) == {"0": 0, "1": 0}
    assert ideal_hits(shared, 8) == {"0": 0, "1": 16}


def test_the_pause_of_the_client_begins_with_the_answer(tmp_path: Path) -> None:
    """Steps take 10 ms: two tokens, 100 ms of thinking, one token, none, one token."""
    outcome = World().drive(planned(tmp_path, conversation("a", FIRST, SECOND, THIRD), arrivals=ClosedLoop(1)))
    times = [(after_ms(each.handed_ns), after_ms(each.finished_ns)) for each in outcome.deliveries]
    assert times == [(0, 20), (120, 130), (130, 140)]


def test_without_think_time_the_pause_is_what_the_recorded_answer_left_of_the_time(tmp_path: Path) -> None:
    without = {name: value for name, value in SECOND.items() if name != "think_time"}
    plan = planned(tmp_path, conversation("a", FIRST, without))
    assert plan.sessions[0].requests[1].pause_ns == 100_000_000


def test_a_json_file_that_holds_no_conversation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="holds no JSON object: give a conversation"):
        make_plan(Workload(Trace(str(path), "weka")))


def test_a_single_conversation_may_be_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "trace_0001.json"
    path.write_text(json.dumps(conversation("a", FIRST, SECOND), indent=1))
    assert make_plan(Workload(Trace(str(path), "weka"))).num_requests == 2


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ({"id": "a", "block_size": 8}, ":1: requests is None, expected a list"),
        ({"id": "a", "requests": [FIRST]}, ":1: block_size is None, expected a whole number of at least 1"),
        (conversation("a", FIRST, {"type": "subagent"}), ":1: requests[1]: type is 'subagent', expected s or n"),
        (conversation("a", {**FIRST, "in": 0}), ":1: requests[0]: in is 0, expected a whole number of at least 1"),
        (conversation("a", {**FIRST, "in": 40}), ":1: requests[0]: 3 hash_ids for 40 tokens are not one for each 8"),
        (conversation("a", FIRST, {**SECOND, "think_time": -1}), ":1: requests[1]: the pause before it is -1 s"),
        (
            conversation("a", THIRD, {**FIRST, "t": 1.0}),
            ":1: requests[1] has no think_time, and the request before",
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_its_place(tmp_path: Path, line: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        planned(tmp_path, line)
