"""Sessions of agents in vLLM's real scheduler and block manager, over an executor that computes nothing.

With a pool that never evicts, every turn finds exactly what the plan says a cache without limits holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine_probe import Probe
from engine_probe.analysis.sessions.turns import Sessions, sessions
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.workload.answers import AnswerLog, KeepAnswers
from engine_probe.workload.arrivals import Replay
from engine_probe.workload.request_plan import make_plan
from engine_probe.workload.traces.ideal_hits import ideal_hits
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_run import run_plan
from tests.support.engines.scheduler_engine import scheduler_engine

pytestmark = pytest.mark.lengthy
BLOCK = 16
FAST = 50.0  # pauses of a tenth of a second at most


AGENTS = Trace("agents", "sessions", block_tokens=64)


def replayed(blocks: int, folder: Path, prompts: Trace = AGENTS) -> Sessions:
    engine: Any = scheduler_engine(
        max_model_len=2048, max_num_batched_tokens=8192, block_size=BLOCK, num_gpu_blocks_override=blocks
    )
    work = WorkloadSection(prompts=prompts, arrivals=Replay(FAST))
    plan = make_plan(work.description())
    facts = {"workload": msgspec.to_builtins(work), "ideal_hits": ideal_hits(plan, BLOCK)}
    with Probe(engine, folder, facts=facts) as probe:
        log = AnswerLog(probe.recorder.answers.append, KeepAnswers(), lambda name: None)
        outcome = run_plan(SimpleNamespace(llm_engine=engine), plan, answers=log)
    assert outcome.why == "answered"
    found = sessions(probe.run.facts, probe.run.requests, probe.run.answers)
    assert found is not None
    return found


def test_a_pool_that_never_evicts_gives_exactly_the_ideal_hits(tmp_path: Path) -> None:
    found = replayed(4000, tmp_path / "run")
    assert len(found.sessions) == 16
    assert found.hits is not None
    assert found.hits.ideal_tokens > 0.7 * found.hits.prompt_tokens
    assert [turn.cached_tokens for turn in found.turns] == [turn.ideal_tokens for turn in found.turns]


def test_a_small_pool_evicts_histories_in_pauses_and_never_finds_more(tmp_path: Path) -> None:
    found = replayed(200, tmp_path / "run")
    assert found.evicted
    assert all(turn.cached_tokens <= (turn.ideal_tokens or 0) for turn in found.turns)


def test_whole_contexts_are_found_exactly_as_their_blocks_say(tmp_path: Path) -> None:
    """The second drops the end of the first one's context and goes on otherwise, the third is its beginning."""
    asked = [("s", 100, [1, 2, 3, 4]), ("n", 120, [1, 2, 5, 6]), ("s", 64, [1, 2]), ("s", 150, [1, 2, 5, 6, 7])]
    requests = [
        {"type": kind, "in": tokens, "out": 3, "hash_ids": ids, "think_time": 0.1} for kind, tokens, ids in asked
    ]
    path = tmp_path / "trace.jsonl"
    path.write_text(json.dumps({"id": "a", "block_size": 32, "requests": requests}))
    found = replayed(4000, tmp_path / "run", Trace(str(path), "weka"))
    assert [turn.cached_tokens for turn in found.turns] == [0, 64, 48, 112]
    assert [turn.ideal_tokens for turn in found.turns] == [0, 64, 48, 112]
