"""What driving costs: `python -m engine_probe.workload.cost`, as a share of the engine's own step time.

The real LLMEngine and scheduler over an executor that computes nothing: the shortest steps there are, so the largest
share. The clock is asked around every call into the engine; what passes outside of them is the driver's, less what
asking the clock takes. Letting go of a step's outputs counts as the driver's too.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from time import perf_counter_ns as now
from typing import Any

import msgspec

from engine_probe.engine.build import llm_arguments
from engine_probe.engine.spec import EngineSpec
from engine_probe.workload.arrivals import Arrivals, Burst, ClosedLoop, OpenLoop
from engine_probe.workload.driver import drive
from engine_probe.workload.plan import make_plan
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.sampling import sampling_parameters
from engine_probe.workload.spec import Workload

NUM_PROMPTS, INPUT_LEN, OUTPUT_LEN = 2000, 64, 64
MOST_RUNNING = 256
LIMIT = 0.01  # of the engine's step time


class Cost(msgspec.Struct, frozen=True):
    """One workload driven."""

    name: str
    steps: int
    step_ns: int  # inside engine.step()
    adding_ns: int  # inside engine.add_request()
    driver_ns: int  # outside of both, and of sleep

    @property
    def share(self) -> float:
        return self.driver_ns / self.step_ns


class TimedEngine:
    """An engine whose every call is timed."""

    def __init__(self, engine: Any) -> None:
        self._step, self._add = engine.step, engine.add_request
        self.steps = self.step_ns = self.adding_ns = 0

    def step(self) -> Any:
        before = now()
        outputs = self._step()
        self.step_ns += now() - before
        self.steps += 1
        return outputs

    def add_request(self, *arguments: Any) -> None:
        before = now()
        self._add(*arguments)
        self.adding_ns += now() - before


class IdleEngine:
    """Does nothing, at once."""

    def step(self) -> list[Any]:
        return []

    def add_request(self, *arguments: Any) -> None:
        return None


def timing_ns() -> float:
    """What a timed step costs outside of its two moments: the least of many rounds, for others use this machine."""
    return min(timing_round_ns(2_000) for _ in range(100))


def timing_round_ns(calls: int) -> float:
    timed = TimedEngine(IdleEngine())
    before = now()
    for _ in range(calls):
        timed.step()
    return (now() - before - timed.step_ns) / calls


def build_engine() -> Any:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    from engine_probe.engine.substitute import SubstituteExecutor

    arguments = {
        "skip_tokenizer_init": True,
        "max_model_len": 512,
        "block_size": 16,
        "num_gpu_blocks_override": 1 + MOST_RUNNING * 512 // 16,
        "max_num_seqs": MOST_RUNNING,
        "enable_prefix_caching": False,
        "enforce_eager": True,
    }
    known = {**llm_arguments(EngineSpec("tiny", arguments)), "distributed_executor_backend": SubstituteExecutor}
    known.pop("kv_cache_memory_bytes", None)  # there is no memory behind these blocks
    return LLMEngine(EngineArgs(**known).create_engine_config(), SubstituteExecutor, log_stats=False)


def measure(engine: Any, name: str, arrivals: Arrivals, num_prompts: int, stream: bool) -> Cost:
    workload = Workload(RandomPrompts(INPUT_LEN), arrivals, output_len=OUTPUT_LEN, num_prompts=num_prompts)
    plan = make_plan(
        msgspec.structs.replace(workload, sampling=msgspec.structs.replace(workload.sampling, stream=stream))
    )
    timed, slept_ns = TimedEngine(engine), 0

    def sleep(seconds: float) -> None:
        nonlocal slept_ns
        before = now()
        while now() - before < seconds * 1e9:
            pass
        slept_ns += now() - before

    parameters = sampling_parameters(plan)
    before = now()
    drive(timed, plan, parameters, sleep=sleep)
    whole_ns = now() - before
    timing = round(timing_ns() * (timed.steps + num_prompts))
    driver_ns = whole_ns - timed.step_ns - timed.adding_ns - slept_ns - timing
    return Cost(name, timed.steps, timed.step_ns, timed.adding_ns, driver_ns)


def measure_all(num_prompts: int) -> Iterator[Cost]:
    engine = build_engine()
    measure(engine, "warm-up", ClosedLoop(8), 16, stream=False)
    yield measure(engine, "1 at once", ClosedLoop(1), num_prompts // 10, stream=False)
    yield measure(engine, "32 at once", ClosedLoop(32), num_prompts, stream=False)
    yield measure(engine, f"{MOST_RUNNING} at once", ClosedLoop(MOST_RUNNING), num_prompts, stream=False)
    yield measure(engine, f"{MOST_RUNNING} at once, streamed", ClosedLoop(MOST_RUNNING), num_prompts, stream=True)
    yield measure(engine, "burst", Burst(), num_prompts, stream=False)
    yield measure(engine, "open loop, 400/s", OpenLoop(400), num_prompts, stream=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m engine_probe.workload.cost", description="What driving costs.")
    parser.add_argument("--num-prompts", type=int, default=NUM_PROMPTS, help="requests of each row (default: 2000)")
    num_prompts = parser.parse_args().num_prompts
    print(f"{'':22}{'steps':>8}{'a step':>12}{'driver':>12}{'share':>9}")
    for cost in measure_all(num_prompts):
        step_us, driver_us = (total / cost.steps / 1000 for total in (cost.step_ns, cost.driver_ns))
        print(f"{cost.name:22}{cost.steps:>8,}{step_us:>9,.1f} µs{driver_us:>9,.2f} µs{cost.share:>9.2%}", flush=True)


if __name__ == "__main__":
    main()
