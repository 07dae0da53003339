"""The shipped concurrency sweeps fill pools of the published sizes where the document says that they were filled.

vLLM's own scheduler and block manager run the sweeps' requests over an executor that computes nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import Point, points
from engine_probe.sweep.preflight.pool_demand import peak_tokens
from engine_probe.workload.request_plan import make_plan
from tests.support.engines.scheduler_engine import core_of, scheduler_engine

BLOCK = 16


def published(name: str, load: int) -> Point:
    (point,) = points(read_sweep(f"concurrency_{name}", [f"workload.concurrency={load}"]))
    return point


def peak_share(point: Point, blocks: int) -> tuple[float, int]:
    """Return the largest share of the pool in use over all steps, and how often a request was preempted."""
    from vllm import SamplingParams

    known = {name: point.engine.arguments[name] for name in ("max_num_batched_tokens", "max_num_seqs")}
    engine: Any = scheduler_engine(
        **known, max_model_len=1024, block_size=BLOCK, num_gpu_blocks_override=blocks + 1, enable_prefix_caching=True
    )
    for session in make_plan(point.workload.description()).sessions:
        (request,) = session.requests
        parameters = SamplingParams(max_tokens=request.output_len, ignore_eos=True, detokenize=False)
        engine.add_request(request.id, {"prompt_token_ids": request.prompt_token_ids}, parameters)
    scheduler, most, preempted = core_of(engine).scheduler, 0, set()
    pool = scheduler.kv_cache_manager.block_pool
    while engine.has_unfinished_requests():
        engine.step()
        most = max(most, blocks - pool.get_num_free_blocks())
        preempted |= {request.request_id for request in scheduler.waiting if request.num_preemptions}
    return most / blocks, len(preempted)


@pytest.mark.parametrize(
    ("name", "tokens", "load", "low", "high"),
    [
        ("gpt2_xl", 268_208, 200, 0.19, 0.22),
        pytest.param("gpt2_xl", 268_208, 600, 0.58, 0.62, marks=pytest.mark.slow),
        ("deepseek_7b", 141_808, 200, 0.40, 0.50),
        pytest.param("deepseek_7b", 141_808, 400, 0.86, 0.92, marks=pytest.mark.slow),
        ("qwen_14b", 64_912, 120, 0.90, 0.97),
        ("falcon_40b", 18_688, 160, 0.70, 0.95),
    ],
)
def test_below_its_saturation_a_pool_is_as_full_as_published_and_as_predicted(
    name: str, tokens: int, load: int, low: float, high: float
) -> None:
    point = published(name, load)
    share, preempted = peak_share(point, tokens // BLOCK)
    predicted = peak_tokens(point, BLOCK)
    assert low < share < high
    assert predicted is not None
    assert share == pytest.approx(predicted / tokens, rel=0.02)
    assert not preempted


@pytest.mark.parametrize(
    ("name", "tokens", "load"),
    [pytest.param("deepseek_7b", 141_808, 500, marks=pytest.mark.slow), ("qwen_14b", 64_912, 130)],
)
def test_at_the_published_saturation_the_pool_is_full(name: str, tokens: int, load: int) -> None:
    share, preempted = peak_share(published(name, load), tokens // BLOCK)
    assert share > 0.98
    assert preempted


@pytest.mark.slow
def test_the_largest_pool_is_full_near_a_thousand_requests() -> None:
    assert peak_share(published("gpt2_xl", 1000), 268_208 // BLOCK)[0] > 0.98
    assert 0.85 < peak_share(published("gpt2_xl", 900), 268_208 // BLOCK)[0] < 0.97
