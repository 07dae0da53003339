"""The driver's CPU time as a share of the engine's steps: `python -m engine_probe.overhead.driver`.

A real LLMEngine and scheduler answer 2,000 requests over an executor that computes nothing, whose steps are the
shortest, so the share is the largest. The outputs of each step are kept. Then the driver runs again over a stand-in
that returns the same outputs: the CPU time of that run is the driver's, apart from the little that the stand-in takes.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from time import thread_time_ns as now
from typing import Any

import msgspec

from engine_probe.overhead.engine import build_engine
from engine_probe.workload.arrivals import Arrivals, Burst, ClosedLoop, OpenLoop
from engine_probe.workload.driver import drive
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.request_plan import Plan, make_plan
from engine_probe.workload.run import sampling_parameters
from engine_probe.workload.spec import Sampling, Workload

NUM_PROMPTS, INPUT_LEN, OUTPUT_LEN = 2000, 64, 64
MOST_RUNNING, MAX_MODEL_LEN = 256, 512
STEP_NS = 5_000_000  # how far each step advances the clock that arrivals follow, so that both runs are the same
REPLAYS = 7
LIMIT = 0.01  # of the engine's step time


class Cost(msgspec.Struct, frozen=True):
    """Holds the CPU time of one workload, of the thread that drives it."""

    name: str
    steps: int
    step_ns: int  # of all steps
    driver_ns: int  # of all steps

    @property
    def share(self) -> float:
        return self.driver_ns / self.step_ns


class Clock:
    """Advances only by steps and by sleep."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class RecordingEngine:
    """Wraps an engine and keeps the outputs of its steps."""

    def __init__(self, engine: Any, clock: Clock) -> None:
        self.add_request, self.abort_request = engine.add_request, engine.abort_request
        self._engine, self._clock = engine, clock
        self.outputs: list[list[Any]] = []
        self.step_ns = 0

    def step(self) -> Any:
        before = now()
        outputs = self._engine.step()
        self.step_ns += now() - before
        self.outputs.append(outputs)
        self._clock.now_ns += STEP_NS
        return outputs


class ReplayingEngine:
    """Returns recorded outputs without computing anything."""

    def __init__(self, outputs: list[list[Any]], clock: Clock) -> None:
        self._outputs, self._clock = iter(outputs), clock

    def add_request(self, name: str, prompt: Any, parameters: Any) -> None:
        return None

    def step(self) -> list[Any]:
        self._clock.now_ns += STEP_NS
        return next(self._outputs)


def measure(engine: Any, name: str, arrivals: Arrivals, num_prompts: int, stream: bool = False) -> Cost:
    workload = Workload(
        RandomPrompts(INPUT_LEN),
        arrivals,
        output_len=OUTPUT_LEN,
        num_prompts=num_prompts,
        sampling=Sampling(stream=stream),
    )
    plan, clock = make_plan(workload), Clock()
    recording = RecordingEngine(engine, clock)
    drive(recording, plan, sampling_parameters(plan), now=clock, sleep=clock.sleep)
    driver_ns = statistics.median(replay_ns(plan, recording.outputs) for _ in range(REPLAYS))
    return Cost(name, len(recording.outputs), recording.step_ns, round(driver_ns))


def replay_ns(plan: Plan, outputs: list[list[Any]]) -> int:
    clock = Clock()
    engine, parameters = ReplayingEngine(outputs, clock), sampling_parameters(plan)
    before = now()
    drive(engine, plan, parameters, now=clock, sleep=clock.sleep)
    return now() - before


def measure_all(num_prompts: int) -> Iterator[Cost]:
    engine = build_engine(MOST_RUNNING, MAX_MODEL_LEN)
    measure(engine, "warm-up", ClosedLoop(8), 16)
    yield measure(engine, "concurrency 1", ClosedLoop(1), num_prompts // 10)
    yield measure(engine, "concurrency 32", ClosedLoop(32), num_prompts)
    yield measure(engine, f"concurrency {MOST_RUNNING}", ClosedLoop(MOST_RUNNING), num_prompts)
    yield measure(engine, f"concurrency {MOST_RUNNING}, streamed", ClosedLoop(MOST_RUNNING), num_prompts, stream=True)
    yield measure(engine, "burst", Burst(), num_prompts)
    yield measure(engine, "open loop", OpenLoop(200), num_prompts)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engine_probe.overhead.driver", description="Measure the driver's share of an engine's steps."
    )
    parser.add_argument("--num-prompts", type=int, default=NUM_PROMPTS, help="requests per row (default: 2000)")
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
