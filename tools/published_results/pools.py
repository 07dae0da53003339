"""What the published bursts do to pools of the published sizes: vLLM's scheduler and blocks, without a model.

The requests are those of the shipped concurrency sweeps, whose lengths of answers were derived from the published
occupancy (tools/shipped_data/answer_lengths.py). Nothing here takes a time; that needs a GPU.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.models.geometry import GIB, geometry
from engine_probe.overhead.engine import build_engine
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.workload.request_plan import make_plan

BLOCK, FULL = 16, 0.98
LIMITS = ("max_num_batched_tokens", "max_num_seqs")


class Pool(NamedTuple):
    """Holds a model, its sweep, the published size of its pool, and the loads to run."""

    model: str
    sweep: str
    tokens: int
    loads: tuple[int, ...]


POOLS = (
    Pool("gpt2-xl", "concurrency_gpt2_xl", 268_208, (200, 400, 600, 800, 900, 1000, 1200)),
    Pool("deepseek-llm-7b-chat", "concurrency_deepseek_7b", 141_808, (200, 400, 500, 600)),
    Pool("qwen1.5-14b-chat", "concurrency_qwen_14b", 64_912, (60, 120, 130, 160)),
    Pool("falcon-40b", "concurrency_falcon_40b", 18_688, (80, 160, 200)),
)


class Burst(NamedTuple):
    """Holds what one burst did, step by step."""

    load: int
    running: list[int]
    waiting: list[int]
    used: list[float]  # share of the pool

    @property
    def peak(self) -> float:
        return max(self.used)

    @property
    def full(self) -> bool:
        return self.peak >= FULL

    @property
    def running_when_full(self) -> int | None:
        return next((running for running, used in zip(self.running, self.used, strict=True) if used >= FULL), None)

    @property
    def full_when_waiting(self) -> float | None:
        """Return how full the pool was when a request first waited after all had run. None if none did."""
        steps = zip(self.waiting, self.used, strict=True)
        for waiting, _ in steps:
            if not waiting:
                break
        return next((used for waiting, used in steps if waiting), None)


def burst(pool: Pool, load: int) -> Burst:
    """Run a burst of the sweep's requests to its end."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    from vllm import SamplingParams

    (point,) = points(read_sweep(pool.sweep, [f"workload.concurrency={load}", f"workload.num_prompts={load}"]))
    limits = {name: point.engine.arguments[name] for name in LIMITS}
    caching = bool(point.engine.arguments["enable_prefix_caching"])
    blocks = pool.tokens // BLOCK
    engine = build_engine(
        max_running=limits["max_num_seqs"],
        max_model_len=1024,
        block_size=BLOCK,
        num_gpu_blocks_override=blocks + 1,  # one of them is vLLM's null block
        enable_prefix_caching=caching,
        max_num_batched_tokens=limits["max_num_batched_tokens"],
    )
    for session in make_plan(point.workload.description()).sessions:
        (request,) = session.requests
        parameters = SamplingParams(max_tokens=request.output_len, ignore_eos=True, detokenize=False)
        engine.add_request(request.id, {"prompt_token_ids": request.prompt_token_ids}, parameters)
    return Burst(load, *followed(engine, blocks))


def followed(engine: Any, blocks: int) -> tuple[list[int], list[int], list[float]]:
    """Step the engine to the end; return what ran, what waited and the share of the pool in use after each step."""
    scheduler = engine.engine_core.engine_core.scheduler
    running, waiting, used = list[int](), list[int](), list[float]()
    while engine.has_unfinished_requests():
        engine.step()
        running.append(len(scheduler.running))
        waiting.append(len(scheduler.waiting))
        used.append(1 - scheduler.kv_cache_manager.block_pool.get_num_free_blocks() / blocks)
    return running, waiting, used


def measured(say: Callable[[str], None]) -> dict[str, float | str]:
    """Return every figure of the bursts by its name in the documents' rows."""
    found: dict[str, float | str] = {}
    queued: list[float] = []
    for pool in POOLS:
        bursts = []
        for load in pool.loads:
            say(f"{pool.model}, {load} requests")
            bursts.append(burst(pool, load))
        found |= dict(figures(pool, bursts))
        queued += [share for each in bursts if (share := each.full_when_waiting) is not None]
    found["queue_from"] = min(queued)
    return found


def figures(pool: Pool, bursts: list[Burst]) -> Iterator[tuple[str, float | str]]:
    bytes_per_token = geometry(catalogue_config(pool.model)).kv_bytes_per_token()
    for each in bursts:
        yield f"{pool.model}.peak_kv_share.{each.load}", each.peak
        yield f"{pool.model}.kv_gib.{each.load}", each.peak * pool.tokens * bytes_per_token / GIB
        yield f"{pool.model}.running.{each.load}", running_words(each)
        yield f"{pool.model}.waiting.{each.load}", waiting_words(each)
        yield f"{pool.model}.full.{each.load}", f"{'full' if each.full else 'not full'}: {each.peak:.0%}"
    full = [each.load for each in bursts if each.full]
    below = [each for each in bursts if not each.full]
    if full:
        not_full = f", not at {max(each.load for each in below):,}" if below else ""
        yield f"{pool.model}.kv_saturation", f"full at {min(full):,}{not_full}"
    per_request = [each.peak / each.load for each in below]
    if len(below) > 1:
        spread = max(per_request) / min(per_request) - 1
        loads = f"{below[0].load} to {below[-1].load}"
        yield f"{pool.model}.linear", f"share per request alike within {spread:.1%} from {loads} requests"


def running_words(each: Burst) -> str:
    when_full = "" if each.running_when_full is None else f", {each.running_when_full:,} when the pool is full"
    return f"at most {max(each.running):,}{when_full}"


def waiting_words(each: Burst) -> str:
    share = each.full_when_waiting
    first = each.waiting[0]
    start = f"{first:,} after the first step, for max_num_seqs or the token budget" if first else "none at first"
    later = "none later" if share is None else f"again once {share:.0%} of the pool are in use"
    return f"{start}, {later}"
