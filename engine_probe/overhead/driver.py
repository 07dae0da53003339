"""The driver's CPU time as a share of the engine's steps: `python -m engine_probe.overhead.driver`.

A real LLMEngine and scheduler answer 2,000 requests over an executor that computes nothing, whose steps are the
shortest, so the share is the largest. The outputs of each step are kept. Then the driver runs again over a stand-in
that returns the same outputs: the CPU time of that run is the driver's, apart from the little that the stand-in takes.
Runs that keep nothing of the answers, a checksum, and their tokens take turns; theirs includes turning the rows into
Arrow, which a recording does in another thread. What tokens take is the median over the rounds of what they take beyond
the checksums of the same round. The second smallest and the second largest of nine are its 96 % interval: each round is
above the median or below it with the same chance. What log-probabilities cost is in `answers.py`, because the model
computes them.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from time import thread_time_ns as now
from typing import Any

import msgspec

from engine_probe.overhead.engine import build_engine
from engine_probe.record.outside_values import Misfits, batch_of_rows
from engine_probe.record.schema import STREAMS
from engine_probe.workload.answers import AnswerLog, KeepAnswers
from engine_probe.workload.arrivals import Arrivals, Burst, ClosedLoop, OpenLoop
from engine_probe.workload.driver import drive
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.request_plan import Plan, make_plan
from engine_probe.workload.workload_run import sampling_parameters
from engine_probe.workload.workload_spec import Sampling, Workload

NUM_PROMPTS, INPUT_LEN, OUTPUT_LEN = 2000, 64, 64
MOST_RUNNING, MAX_MODEL_LEN = 256, 512
STEP_NS = 5_000_000  # how far each step advances the clock that arrivals follow, so that both runs are the same
REPLAYS = 9
OUTLYING = 1  # replays at either end that are beyond the interval
LIMIT = 0.01  # of the engine's step time
KEPT = (None, KeepAnswers(), KeepAnswers("tokens"))


class DriverCost(msgspec.Struct, frozen=True):
    """Holds the CPU time of one workload, of the thread that drives it."""

    name: str
    steps: int
    step_ns: int  # of all steps
    driver_ns: int  # of all steps, keeping nothing of the answers
    checksum_ns: int  # beyond that: of keeping their checksums
    tokens_ns: list[int]  # beyond checksums, which a recording keeps in any case: of keeping tokens, in each replay

    @property
    def share(self) -> float:
        return self.driver_ns / self.step_ns

    @property
    def tokens_share(self) -> float:
        return statistics.median(self.tokens_ns) / self.step_ns

    @property
    def tokens_interval(self) -> tuple[float, float]:
        ordered = sorted(self.tokens_ns)
        return ordered[OUTLYING] / self.step_ns, ordered[-1 - OUTLYING] / self.step_ns


class StepClock:
    """Advances only by steps and by sleep."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class RecordingEngine:
    """Wraps an engine and keeps the outputs of its steps."""

    def __init__(self, engine: Any, clock: StepClock) -> None:
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

    def __init__(self, outputs: list[list[Any]], clock: StepClock) -> None:
        self._outputs, self._clock = iter(outputs), clock

    def add_request(self, name: str, prompt: Any, parameters: Any) -> None:
        return None

    def step(self) -> list[Any]:
        self._clock.now_ns += STEP_NS
        return next(self._outputs)


def measure(engine: Any, name: str, arrivals: Arrivals, num_prompts: int, stream: bool = False) -> DriverCost:
    workload = Workload(
        RandomPrompts(INPUT_LEN),
        arrivals,
        output_len=OUTPUT_LEN,
        num_prompts=num_prompts,
        sampling=Sampling(stream=stream),
    )
    plan, clock = make_plan(workload), StepClock()
    recording = RecordingEngine(engine, clock)
    drive(recording, plan, sampling_parameters(plan), now=clock, sleep=clock.sleep)
    rounds = [[replay_ns(plan, recording.outputs, kept) for kept in KEPT] for _ in range(REPLAYS)]
    alone = statistics.median(each[0] for each in rounds)
    checksum = statistics.median(each[1] - each[0] for each in rounds)
    tokens = [each[2] - each[1] for each in rounds]
    return DriverCost(name, len(recording.outputs), recording.step_ns, round(alone), round(checksum), tokens)


def replay_ns(plan: Plan, outputs: list[list[Any]], kept: KeepAnswers | None) -> int:
    clock, rows = StepClock(), list[tuple[Any, ...]]()
    engine, parameters = ReplayingEngine(outputs, clock), sampling_parameters(plan)
    answers = AnswerLog(rows.append, kept, lambda _: None) if kept else None
    before = now()
    drive(engine, plan, parameters, answers=answers, now=clock, sleep=clock.sleep)
    if rows:
        batch_of_rows(rows, STREAMS["answers"], "answers", Misfits())
    return now() - before


def measure_all(num_prompts: int) -> Iterator[DriverCost]:
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
    print(f"{'':24}{'steps':>8}{'a step':>12}{'driver':>12}{'share':>9}{'checksums':>12}{'tokens':>9}{'interval':>19}")
    costs = []
    for cost in measure_all(num_prompts):
        costs.append(cost)
        print(row(cost), flush=True)
    return int(any(max(cost.share, cost.tokens_interval[1]) >= LIMIT for cost in costs))


def row(cost: DriverCost) -> str:
    step, driver, checksum = (ns / cost.steps / 1000 for ns in (cost.step_ns, cost.driver_ns, cost.checksum_ns))
    low, high = cost.tokens_interval
    return (
        f"{cost.name:24}{cost.steps:>8,}{step:>9,.1f} µs{driver:>9,.2f} µs{cost.share:>9.2%}{checksum:>9,.2f} µs"
        f"{cost.tokens_share:>9.2%}{f'{low:.2%} to {high:.2%}':>19}"
    )


if __name__ == "__main__":
    sys.exit(main())
