"""What driving costs: `python -m engine_probe.overhead.driver`, as a share of the engine's own step time.

The real LLMEngine and scheduler answer 2,000 requests over an executor that computes nothing: the shortest steps there
are, so the largest share. What each step gave is kept, and the driver drives once more over a stand-in that gives the
same again: all the CPU time of that is the driver's (and the stand-in's, which is little).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from time import thread_time_ns as now
from typing import Any

import msgspec

from engine_probe.engine.build import llm_arguments
from engine_probe.engine.spec import EngineSpec
from engine_probe.workload.arrivals import Arrivals, Burst, ClosedLoop, OpenLoop
from engine_probe.workload.driver import drive
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.request_plan import Plan, make_plan
from engine_probe.workload.sampling import sampling_parameters
from engine_probe.workload.spec import Sampling, Workload

NUM_PROMPTS, INPUT_LEN, OUTPUT_LEN = 2000, 64, 64
MOST_RUNNING = 256
STEP_NS = 5_000_000  # of the clock that arrivals follow: the same in both runs, whatever else runs here
REPLAYS = 7
LIMIT = 0.01  # of the engine's step time


class Cost(msgspec.Struct, frozen=True):
    """One workload driven; CPU time of the thread that drives."""

    name: str
    steps: int
    step_ns: int  # in all
    driver_ns: int  # in all

    @property
    def share(self) -> float:
        return self.driver_ns / self.step_ns


class Clock:
    """Advances by steps and by sleep alone."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class Kept:
    """An engine that keeps what it gave."""

    def __init__(self, engine: Any, clock: Clock) -> None:
        self.add_request, self.abort_request = engine.add_request, engine.abort_request
        self._engine, self._clock = engine, clock
        self.given: list[list[Any]] = []
        self.step_ns = 0

    def step(self) -> Any:
        before = now()
        outputs = self._engine.step()
        self.step_ns += now() - before
        self.given.append(outputs)
        self._clock.now_ns += STEP_NS
        return outputs


class StandIn:
    """Gives the same again, at once."""

    def __init__(self, given: list[list[Any]], clock: Clock) -> None:
        self._given, self._clock = iter(given), clock

    def add_request(self, name: str, prompt: Any, parameters: Any) -> None:
        return None

    def step(self) -> list[Any]:
        self._clock.now_ns += STEP_NS
        return next(self._given)


def build_engine() -> Any:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    from engine_probe.engine.null_executor import SubstituteExecutor

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


def measure(engine: Any, name: str, arrivals: Arrivals, num_prompts: int, stream: bool = False) -> Cost:
    asked = Workload(
        RandomPrompts(INPUT_LEN),
        arrivals,
        output_len=OUTPUT_LEN,
        num_prompts=num_prompts,
        sampling=Sampling(stream=stream),
    )
    plan, clock = make_plan(asked), Clock()
    kept = Kept(engine, clock)
    drive(kept, plan, sampling_parameters(plan), now=clock, sleep=clock.sleep)
    driver_ns = statistics.median(replay_ns(plan, kept.given) for _ in range(REPLAYS))
    return Cost(name, len(kept.given), kept.step_ns, round(driver_ns))


def replay_ns(plan: Plan, given: list[list[Any]]) -> int:
    clock = Clock()
    engine, parameters = StandIn(given, clock), sampling_parameters(plan)
    before = now()
    drive(engine, plan, parameters, now=clock, sleep=clock.sleep)
    return now() - before


def measure_all(num_prompts: int) -> Iterator[Cost]:
    engine = build_engine()
    measure(engine, "warm-up", ClosedLoop(8), 16)
    yield measure(engine, "concurrency 1", ClosedLoop(1), num_prompts // 10)
    yield measure(engine, "concurrency 32", ClosedLoop(32), num_prompts)
    yield measure(engine, f"concurrency {MOST_RUNNING}", ClosedLoop(MOST_RUNNING), num_prompts)
    yield measure(engine, f"concurrency {MOST_RUNNING}, streamed", ClosedLoop(MOST_RUNNING), num_prompts, stream=True)
    yield measure(engine, "burst", Burst(), num_prompts)
    yield measure(engine, "open loop", OpenLoop(200), num_prompts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine_probe.overhead.driver", description="What driving costs.")
    parser.add_argument("--num-prompts", type=int, default=NUM_PROMPTS, help="requests of each row (default: 2000)")
    num_prompts = parser.parse_args().num_prompts
    print(f"{'':22}{'steps':>8}{'a step':>12}{'driver':>12}{'share':>9}")
    costs = []
    for cost in measure_all(num_prompts):
        costs.append(cost)
        step_us, driver_us = (total / cost.steps / 1000 for total in (cost.step_ns, cost.driver_ns))
        print(f"{cost.name:22}{cost.steps:>8,}{step_us:>9,.1f} µs{driver_us:>9,.2f} µs{cost.share:>9.2%}", flush=True)
    return int(any(cost.share >= LIMIT for cost in costs))


if __name__ == "__main__":
    sys.exit(main())
