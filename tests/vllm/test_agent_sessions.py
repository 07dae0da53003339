"""Sessions of agents in vLLM's real scheduler and block manager, over an executor that computes nothing.

With a pool that never evicts, every turn finds exactly what the plan says a cache without limits holds.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine_probe import Probe
from engine_probe.analysis.sessions.turns import Sessions, sessions
from engine_probe.sweep.definition.sweep_file import WorkloadSection
from engine_probe.workload.answers import AnswerLog, KeepAnswers
from engine_probe.workload.arrivals import Replay
from engine_probe.workload.request_plan import make_plan
from engine_probe.workload.run import run_plan
from engine_probe.workload.traces.ideal_hits import ideal_first_hits
from engine_probe.workload.traces.trace_file import Trace
from tests.support.scheduler_engine import scheduler_engine

pytestmark = pytest.mark.lengthy
BLOCK = 16
FAST = 50.0  # pauses of a tenth of a second at most


def replayed(blocks: int, folder: Path) -> Sessions:
    engine: Any = scheduler_engine(
        max_model_len=2048, max_num_batched_tokens=8192, block_size=BLOCK, num_gpu_blocks_override=blocks
    )
    work = WorkloadSection(prompts=Trace("agents", "sessions", block_tokens=64), arrivals=Replay(FAST))
    plan = make_plan(work.description())
    facts = {"workload": msgspec.to_builtins(work), "ideal_first_hits": ideal_first_hits(plan, BLOCK)}
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
