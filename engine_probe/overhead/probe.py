"""What watching costs: the probe against vLLM's own statistics, on the real scheduler of this machine.

Every mode drives the same real `LLMEngine` and scheduler over an executor that computes nothing, in one process, in
short alternating blocks: off, probe, off, statistics, off, details ... A figure is the median over the rounds of
(block with the mode on - mean of the two blocks beside it), each block standing for the median of its steps, so that
the drift of a shared machine falls out. Telemetry is off: a thread of its own has a command of its own,
`python -m engine_probe.overhead.telemetry`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns as now
from typing import Any

import msgspec
import pyarrow as pa

from engine_probe.engine.build import llm_arguments
from engine_probe.engine.spec import EngineSpec
from engine_probe.probe import Probe
from engine_probe.record.schema import SCHEMAS

RUNNING = (1, 32, 256, 1024)
ROUNDS = 15
MAX_MODEL_LEN = 4096
PROMPT_TOKENS = 64
LONGEST_ANSWER = MAX_MODEL_LEN - PROMPT_TOKENS - 64
BLOCK_SECONDS = 0.12  # a block of steps of one mode; short against the drift of a shared machine
MOST_STEPS = 200
SNAPSHOT_SECONDS = 0.2
DISK_ITERATIONS, DISK_SECONDS = 3_900, 20.0
MODES = ("probe", "statistics", "details")


class Cost(msgspec.Struct, frozen=True):
    """One number of running requests, all modes; times are medians in ns per iteration."""

    running: int
    rounds: int
    steps_per_block: int
    step_ns: float  # engine.step() with nothing on
    schedule_ns: float  # of which schedule()
    probe_counted_ns: float  # what the probe counts of itself
    probe_ns: float  # what the clock outside says, as are the next two
    statistics_ns: float  # disable_log_stats=False
    details_ns: float  # ... and enable_logging_iteration_details
    snapshot_ns: float  # one metrics snapshot every 200 ms, spread over the steps between two
    spread_ns: dict[str, float]  # half the distance between the quartiles of the rounds, per mode
    disk_bytes: float  # per iteration, closed iterations file beyond an empty one
    disk_iterations: int

    @property
    def share_of_schedule(self) -> float:
        return self.probe_ns / self.schedule_ns

    def times_cheaper(self, than_ns: float) -> float | None:
        """None where the probe's cost drowns in the noise."""
        return than_ns / self.probe_ns if self.probe_ns > self.spread_ns["probe"] else None


class Engines:
    """Three real engines over substitute executors: nothing on, statistics on, iteration details too."""

    def __init__(self, most_running: int) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        self._most = most_running
        self.plain = self._build(log_stats=False)
        self.statistics = self._build(log_stats=True)
        self.details = self._build(log_stats=True, enable_logging_iteration_details=True)

    def _build(self, log_stats: bool, **arguments: Any) -> Any:
        from vllm import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        from engine_probe.engine.null_executor import SubstituteExecutor

        spec = EngineSpec(
            "tiny",
            {
                "skip_tokenizer_init": True,
                "max_model_len": MAX_MODEL_LEN,
                "block_size": 16,
                "num_gpu_blocks_override": 1 + self._most * MAX_MODEL_LEN // 16,
                "max_num_seqs": self._most,
                "max_num_batched_tokens": max(8192, self._most * PROMPT_TOKENS),
                "enable_prefix_caching": False,
                "enforce_eager": True,
                **arguments,
            },
        )
        known = {**llm_arguments(spec), "distributed_executor_backend": SubstituteExecutor}
        known.pop("kv_cache_memory_bytes", None)  # there is no memory behind these blocks
        return LLMEngine(EngineArgs(**known).create_engine_config(), SubstituteExecutor, log_stats=log_stats)

    @contextmanager
    def filled(self, running: int) -> Iterator[None]:
        """So many requests past their prompts, in all three; none left afterwards."""
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=LONGEST_ANSWER, ignore_eos=True, detokenize=False)
        for engine in self:
            for index in range(running):
                prompt = [3 + (index * 7 + position) % 200 for position in range(PROMPT_TOKENS)]
                engine.add_request(f"{running}-{index}", {"prompt_token_ids": prompt}, parameters)
            for _ in range(5):
                engine.step()
        yield
        for engine in self:
            core = engine.engine_core.engine_core
            engine.abort_request(list(engine.output_processor.request_states), internal=True)
            while core.scheduler.has_requests():
                core.step_fn()

    def __iter__(self) -> Iterator[Any]:
        return iter((self.plain, self.statistics, self.details))


def settling(steps: int) -> int:
    """As many again, untimed: attaching, or another engine's block, leaves the caches full of something else."""
    return steps


def block(engine: Any, steps: int) -> float:
    """Median duration of a step over one block, after as many steps that are not timed."""
    for _ in range(settling(steps)):
        engine.step()
    durations = []
    for _ in range(steps):
        before = now()
        engine.step()
        durations.append(now() - before)
    return statistics.median(durations)


class Rounds:
    """What the rounds of one number of running requests gave; each sample is the median of a block."""

    def __init__(self, engines: Engines, folder: Path) -> None:
        self._engines, self._folder = engines, folder
        self.differences: dict[str, list[float]] = {mode: [] for mode in MODES}
        self.off: list[float] = []
        self.counted: list[float] = []
        self.scheduling: list[float] = []

    def take(self, steps: int) -> None:
        """One round: every mode between two blocks with nothing on; who begins changes from round to round."""
        first = len(self.differences[MODES[0]]) % len(MODES)
        before = block(self._engines.plain, steps)
        for mode in (*MODES[first:], *MODES[:first]):
            watched = self._with(mode, steps)
            after = block(self._engines.plain, steps)
            self.differences[mode].append(watched - (before + after) / 2)
            self.off.append(before)
            before = after

    def _with(self, mode: str, steps: int) -> float:
        if mode != "probe":
            return block(getattr(self._engines, mode), steps)
        with Probe(self._engines.plain, self._folder / str(len(self.counted)), telemetry=False) as probe:
            watched = block(self._engines.plain, steps)
        rows = probe.run.iterations
        self.counted.append(statistics.median(rows["probe_ns"].to_pylist()))
        self.scheduling.append(statistics.median(rows["schedule_ns"].to_pylist()))
        return watched


def measure(engines: Engines, running: int, rounds: int, folder: Path, tick: Callable[[], None]) -> Cost:
    """One row of the table."""
    taken = Rounds(engines, folder / str(running))
    left = rounds
    while left:
        with engines.filled(running):
            steps = max(5, min(MOST_STEPS, int(BLOCK_SECONDS * 1e9 / block(engines.plain, 5))))
            # Not more than the requests of the plain engine can still answer.
            for _ in range(min(left, max(1, LONGEST_ANSWER // (5 * (steps + settling(steps)))))):
                taken.take(steps)
                left -= 1
                tick()
            snapshot = metrics_snapshot_ns(engines.statistics)
    disk_bytes, disk_rows = bytes_on_disk(engines, running, folder / f"{running}-disk")
    step = statistics.median(taken.off)
    median = {mode: statistics.median(values) for mode, values in taken.differences.items()}
    return Cost(
        running=running,
        rounds=rounds,
        steps_per_block=steps,
        step_ns=step,
        schedule_ns=statistics.median(taken.scheduling),
        probe_counted_ns=statistics.median(taken.counted),
        probe_ns=median["probe"],
        statistics_ns=median["statistics"],
        details_ns=median["details"],
        snapshot_ns=snapshot * step / (SNAPSHOT_SECONDS * 1e9),
        spread_ns={mode: half_quartile_distance(values) for mode, values in taken.differences.items()},
        disk_bytes=disk_bytes,
        disk_iterations=disk_rows,
    )


def half_quartile_distance(values: list[float]) -> float:
    if len(values) < 2:
        return float("inf")  # one round says nothing about the spread
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")  # linear, as everywhere
    return (third - first) / 2


def metrics_snapshot_ns(engine: Any) -> float:
    """What one read of all metrics costs the process: the price of a scrape."""
    durations = []
    for _ in range(15):
        before = now()
        engine.get_metrics()
        durations.append(now() - before)
    return statistics.median(durations)


def bytes_on_disk(engines: Engines, running: int, folder: Path) -> tuple[float, int]:
    """Size of the closed iterations file per row, over a recording of its own, beside what an empty one takes."""
    with engines.filled(running), Probe(engines.plain, folder, telemetry=False) as probe:
        begun = now()
        for _ in range(DISK_ITERATIONS):
            engines.plain.step()
            if now() - begun > DISK_SECONDS * 1e9:
                break
    table = probe.run.facts["tables"]["iterations"]
    return (table["bytes"] - empty_file_bytes()) / table["rows"], table["rows"]


def empty_file_bytes() -> int:
    """The schema with its units and meanings, once per file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMAS["iterations"]):
        pass
    return int(sink.getvalue().size)


def run(levels: tuple[int, ...], rounds: int, tick: Callable[[], None], say: Callable[[str], None]) -> Iterator[Cost]:
    """Row by row; recordings go to a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="engine_probe-overhead-"))
    try:
        say("starting three engines that compute nothing")
        engines = Engines(max(levels))
        for running in levels:
            say(f"measuring with {running:,} running requests")
            yield measure(engines, running, rounds, folder, tick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
