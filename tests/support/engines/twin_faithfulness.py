"""Whether the twin's scheduler decides what a real CPU engine's decides, on workloads drawn by chance.

    python -m tests.support.engines.twin_faithfulness ENGINE --cases N [--seed S]

It prints a line of JSON: how many cases and steps were equal, or the smallest case that was not.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any, ClassVar

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from vllm import EngineArgs
from vllm.v1.engine.llm_engine import LLMEngine

from engine_probe.engine.build import build_llm, llm_arguments
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.twin.build import as_on_a_gpu
from engine_probe.engine.twin.counting.counting_scheduler import count_requests
from engine_probe.engine.twin.drafts.acceptance import Acceptance
from engine_probe.engine.twin.drafts.drafting import Drafts
from engine_probe.engine.twin.executor import TwinExecutor, twin_executor
from engine_probe.engine.twin.virtual_clock import VirtualClock
from tests.support.engines.decisions import (
    Answers,
    Asked,
    Decision,
    Limits,
    Speculated,
    decisions,
    plain,
    speculations,
)

BLOCK, LONGEST, MOST_RUNNING, MOST_TOKENS, BLOCKS = 32, 256, 16, 512, 32
COMMON = {
    "block_size": BLOCK,
    "num_gpu_blocks_override": BLOCKS + 1,  # one is vLLM's null block
    "max_model_len": LONGEST,
    "max_num_seqs": MOST_RUNNING,
    "max_num_batched_tokens": MOST_TOKENS,
    "enforce_eager": True,
}
NGRAMS = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
ENGINES: dict[str, dict[str, Any]] = {
    "plain": {"async_scheduling": False, "enable_prefix_caching": False},
    "prefix caching": {"async_scheduling": False, "enable_prefix_caching": True},
    "asynchronous": {"async_scheduling": True, "enable_prefix_caching": False},
    "asynchronous, prefix caching": {"async_scheduling": True, "enable_prefix_caching": True},
    "priority": {"async_scheduling": False, "enable_prefix_caching": True, "scheduling_policy": "priority"},
    "asynchronous, priority": {"async_scheduling": True, "scheduling_policy": "priority"},
    "short chunks": {"async_scheduling": True, "long_prefill_token_threshold": 24},
    "whole prompts": {"async_scheduling": False, "enable_chunked_prefill": False},
    "windows": {"async_scheduling": True, "hf_overrides": {"sliding_window": 48}},
    "windows in some layers": {
        "async_scheduling": False,
        "hf_overrides": {"sliding_window": 48, "layer_types": ["sliding_attention", "full_attention"]},
    },
    "drafts": {"async_scheduling": False, "enable_prefix_caching": False, "speculative_config": NGRAMS},
    "drafts, prefix caching": {"async_scheduling": False, "speculative_config": NGRAMS},
}
UNCOUNTED = ("long_prefill_token_threshold", "hf_overrides", "speculative_config")  # steps that are left to vLLM


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    return Asked(
        gap=draw(st.integers(0, 6)),
        shared=draw(st.integers(0, 70)),
        own=draw(st.integers(1, 70)),
        output_len=draw(st.integers(1, 110)),
        samples=draw(st.sampled_from([1, 1, 1, 1, 2, 3])),
        priority=draw(st.integers(0, 2)),
        aborted_after=draw(st.none() | st.none() | st.integers(1, 40)),
    )


def cases(groups: int) -> st.SearchStrategy[tuple[list[Asked], Limits]]:
    """Draw workloads and limits for a pool whose blocks are shared by so many groups of layers."""
    # A request alone must fit the pool, or vLLM never ends; each group keeps blocks of its own for a token.
    limits = st.builds(
        Limits,
        st.integers(groups * LONGEST // BLOCK, BLOCKS),
        st.integers(2, MOST_RUNNING),
        st.integers(LONGEST, MOST_TOKENS),
    )
    return st.tuples(st.lists(requests(), min_size=4, max_size=24), limits)


class RealDrafts(Drafts):
    """Drafts as many tokens as the real engine did, and accepts as many."""

    def __init__(self, acceptance: Acceptance, speculated: Speculated) -> None:
        super().__init__(acceptance, most=0)
        self._speculated = speculated

    def accepted(self, request_id: str, place: int, drafted: int) -> int:
        return self._speculated.given.get((plain(request_id), place), 1) - 1

    def drafted(self, request_id: str, place: int) -> int:
        return self._speculated.drafted.get((plain(request_id), place), 0)


class Answering(TwinExecutor):
    """A twin that samples what the real engine sampled: equal tokens of two samples share KV blocks."""

    answers: ClassVar[Answers] = {}
    speculated: ClassVar[Speculated] = Speculated({}, {})

    def _make_drafts(self, acceptance: Acceptance) -> Drafts:
        return RealDrafts(acceptance, self.speculated)

    def token(self, request_id: str, place: int) -> int:
        sample, _, name = plain(request_id).rpartition("_")
        known = self.answers.get((name, int(sample or 0)), [])
        return known[place] if place < len(known) else super().token(request_id, place)


def engines(name: str) -> tuple[Any, Any]:
    """Start the real engine and its twin, in this process."""
    spec = EngineSpec("tiny", {**COMMON, **ENGINES[name]})
    with as_on_a_gpu():
        real = build_llm(spec).llm_engine
    acceptance = Acceptance((1.0,)) if "speculative_config" in ENGINES[name] else None  # what it says is not asked
    base = twin_executor(VirtualClock(), lambda work: (1_000_000, 0), acceptance=acceptance)
    executor = type("Answering", (Answering, base), {})
    arguments = {**llm_arguments(spec), "distributed_executor_backend": executor, "skip_tokenizer_init": True}
    arguments.pop("kv_cache_memory_bytes", None)  # no memory stands behind the twin's blocks
    with as_on_a_gpu():
        twin = LLMEngine(EngineArgs(**arguments).create_engine_config(), executor, log_stats=False)
    for engine in (real, twin):
        asynchronous = engine.vllm_config.scheduler_config.async_scheduling
        assert (
            asynchronous
            is (engine.engine_core.engine_core.batch_queue is not None)
            is ENGINES[name]["async_scheduling"]
        )
    assert count_requests(twin) is ENGINES[name].keys().isdisjoint(UNCOUNTED)
    return real, twin


def first_difference(real: list[Decision], twin: list[Decision]) -> str | None:
    """Say where two runs part. None if they are the same."""
    for step, (one, other) in enumerate(zip(real, twin, strict=False)):
        if one != other:
            names = [name for name in Decision._fields if getattr(one, name) != getattr(other, name)]
            return f"step {step}: {', '.join(names)}: {one} in the engine, {other} in the twin"
    return None if len(real) == len(twin) else f"{len(real)} steps in the engine, {len(twin)} in the twin"


def checked(name: str, number: int, seed_number: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """Compare both engines on so many cases, the smallest failing one found by shrinking."""
    real, twin = engines(name)
    groups = len(real.engine_core.engine_core.scheduler.kv_cache_config.kv_cache_groups)
    steps = preempted = compared = 0

    @seed(seed_number)
    @settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases(groups))
    def compare(case: tuple[list[Asked], Limits]) -> None:
        nonlocal steps, preempted, compared
        Answering.answers.clear()
        for known in Answering.speculated:
            known.clear()
        with speculations(real.engine_core.engine_core.scheduler, Answering.speculated):
            found = decisions(real, *case, Answering.answers)
        difference = first_difference(found, decisions(twin, *case))
        assert difference is None, difference
        compared, steps = compared + 1, steps + len(found)
        preempted += sum(len(each.preempted) for each in found)

    compare()
    counted = getattr(twin.engine_core.engine_core.scheduler, "counted_steps", 0)
    tell({"engine": name, "cases": compared, "steps": steps, "preemptions": preempted, "counted": counted})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    checked(asked.engine, asked.cases, asked.seed, lambda found: print(json.dumps(found), flush=True))


if __name__ == "__main__":
    main()
