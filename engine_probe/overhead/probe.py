"""The probe's cost per step beside that of vLLM's own statistics, on this machine.

Each mode steps a real `LLMEngine` and scheduler over an executor that computes nothing, all in one process, in short
alternating blocks: off, probe, off, statistics, off, details ... A block's figure is the median of its steps. A mode's
cost is the median over the rounds of (its block - mean of the two blocks beside it), which cancels the drift of a
shared machine. Telemetry is off; `python -m engine_probe.overhead.telemetry` measures it.
"""

import math
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

from engine_probe.analysis.statistics.student import quantile
from engine_probe.overhead.engine import build_engine
from engine_probe.probe import Probe
from engine_probe.record.schema import SCHEMAS

RUNNING = (1, 32, 256, 1024)
ROUNDS = 15
MAX_MODEL_LEN = 4096
PROMPT_TOKENS = 64
LONGEST_ANSWER = MAX_MODEL_LEN - PROMPT_TOKENS - 64
BLOCK_SECONDS = 0.12  # of one mode's steps; short, because a shared machine drifts
MOST_STEPS = 200
SNAPSHOT_SECONDS = 0.2
DISK_ITERATIONS, DISK_SECONDS = 3_900, 20.0
MODES = ("probe", "statistics", "details")


class Cost(msgspec.Struct, frozen=True):
    """Holds the costs of all modes at one number of running requests; times are medians per iteration."""

    running: int
    rounds: int
    steps_per_block: int
    step_ns: float  # engine.step() without any mode
    schedule_ns: float  # schedule() alone
    probe_counted_ns: float  # by the probe's own clock
    probe_ns: float  # by the difference of blocks, as the next two
    uncounted_ns: float  # mean over the rounds of (difference of blocks - by the probe's own clock)
    uncounted_half_width_ns: float  # of its 95 % interval
    statistics_ns: float  # disable_log_stats=False
    details_ns: float  # ... and enable_logging_iteration_details
    snapshot_ns: float  # a metrics snapshot every 200 ms, divided among the steps between two
    spread_ns: dict[str, float]  # half the interquartile range of the rounds, by mode
    disk_bytes: float  # per iteration, of a closed iterations file without the size of an empty one
    disk_iterations: int

    @property
    def share_of_schedule(self) -> float:
        return self.probe_ns / self.schedule_ns

    def times_cheaper(self, than_ns: float) -> float | None:
        """Return how many times cheaper the probe is; None if its cost is below the noise."""
        return than_ns / self.probe_ns if self.probe_ns > self.spread_ns["probe"] else None


class Engines:
    """Holds three engines that compute nothing: plain, with statistics, and with iteration details as well."""

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self.plain = self._build(log_stats=False)
        self.statistics = self._build(log_stats=True)
        self.details = self._build(log_stats=True, enable_logging_iteration_details=True)

    def _build(self, log_stats: bool, **arguments: Any) -> Any:
        batched = max(8192, self._max_running * PROMPT_TOKENS)
        return build_engine(self._max_running, MAX_MODEL_LEN, log_stats, max_num_batched_tokens=batched, **arguments)

    @contextmanager
    def filled(self, running: int) -> Iterator[None]:
        """Give each engine that many requests, past their prompts; remove them afterwards."""
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


def block(engine: Any, steps: int) -> float:
    """Return the median duration of a block's steps, after as many steps that refill the caches and are not timed."""
    for _ in range(steps):
        engine.step()
    durations = []
    for _ in range(steps):
        before = now()
        engine.step()
        durations.append(now() - before)
    return statistics.median(durations)


class Rounds:
    """Takes rounds at one number of running requests; each sample is the median of a block."""

    def __init__(self, engines: Engines, folder: Path) -> None:
        self._engines, self._folder = engines, folder
        self.differences: dict[str, list[float]] = {mode: [] for mode in MODES}
        self.off: list[float] = []
        self.counted: list[float] = []
        self.scheduling: list[float] = []

    def take(self, steps: int) -> None:
        """Take one round: each mode between two blocks without any; the first mode changes from round to round."""
        first = len(self.differences[MODES[0]]) % len(MODES)
        before = block(self._engines.plain, steps)
        for mode in (*MODES[first:], *MODES[:first]):
            step_ns = self._block_with(mode, steps)
            after = block(self._engines.plain, steps)
            self.differences[mode].append(step_ns - (before + after) / 2)
            self.off.append(before)
            before = after

    def _block_with(self, mode: str, steps: int) -> float:
        if mode != "probe":
            return block(getattr(self._engines, mode), steps)
        with Probe(self._engines.plain, self._folder / str(len(self.counted)), telemetry=False) as probe:
            step_ns = block(self._engines.plain, steps)
        rows = probe.run.iterations
        self.counted.append(statistics.median(rows["probe_ns"].to_pylist()))
        self.scheduling.append(statistics.median(rows["schedule_ns"].to_pylist()))
        return step_ns


def measure(engines: Engines, running: int, rounds: int, folder: Path, tick: Callable[[], None]) -> Cost:
    """Measure one row of the table; `tick` is called after each round."""
    samples = Rounds(engines, folder / str(running))
    rounds_left = rounds
    while rounds_left:
        with engines.filled(running):
            steps = max(5, min(MOST_STEPS, int(BLOCK_SECONDS * 1e9 / block(engines.plain, 5))))
            # The requests of the plain engine must not reach the end of their answers.
            for _ in range(min(rounds_left, max(1, LONGEST_ANSWER // (5 * 2 * steps)))):
                samples.take(steps)
                rounds_left -= 1
                tick()
            snapshot = metrics_snapshot_ns(engines.statistics)
    disk_bytes, disk_rows = bytes_on_disk(engines, running, folder / f"{running}-disk")
    step = statistics.median(samples.off)
    uncounted = [cost - own for cost, own in zip(samples.differences["probe"], samples.counted, strict=True)]
    median = {mode: statistics.median(values) for mode, values in samples.differences.items()}
    return Cost(
        running=running,
        rounds=rounds,
        steps_per_block=steps,
        step_ns=step,
        schedule_ns=statistics.median(samples.scheduling),
        probe_counted_ns=statistics.median(samples.counted),
        probe_ns=median["probe"],
        uncounted_ns=statistics.mean(uncounted),
        uncounted_half_width_ns=quantile(rounds - 1) * statistics.stdev(uncounted) / math.sqrt(rounds),
        statistics_ns=median["statistics"],
        details_ns=median["details"],
        snapshot_ns=snapshot * step / (SNAPSHOT_SECONDS * 1e9),
        spread_ns={mode: half_quartile_distance(values) for mode, values in samples.differences.items()},
        disk_bytes=disk_bytes,
        disk_iterations=disk_rows,
    )


def half_quartile_distance(values: list[float]) -> float:
    if len(values) < 2:
        return float("inf")  # one round has no spread
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return (third - first) / 2


def metrics_snapshot_ns(engine: Any) -> float:
    """Return the median time of reading all metrics, as a scrape does."""
    durations = []
    for _ in range(15):
        before = now()
        engine.get_metrics()
        durations.append(now() - before)
    return statistics.median(durations)


def bytes_on_disk(engines: Engines, running: int, folder: Path) -> tuple[float, int]:
    """Record thousands of iterations; return the closed file's bytes per row, less an empty file's, and the rows."""
    with engines.filled(running), Probe(engines.plain, folder, telemetry=False) as probe:
        started = now()
        for _ in range(DISK_ITERATIONS):
            engines.plain.step()
            if now() - started > DISK_SECONDS * 1e9:
                break
    table = probe.run.facts["tables"]["iterations"]
    return (table["bytes"] - empty_file_bytes()) / table["rows"], table["rows"]


def empty_file_bytes() -> int:
    """Return the size of a file without rows, which holds the schema with its units and meanings."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMAS["iterations"]):
        pass
    return int(sink.getvalue().size)


def run(levels: tuple[int, ...], rounds: int, tick: Callable[[], None], say: Callable[[str], None]) -> Iterator[Cost]:
    """Measure and yield row by row; recordings go to a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="engine_probe-overhead-"))
    try:
        say("starting three engines that compute nothing")
        engines = Engines(max(levels))
        for running in levels:
            say(f"measuring with {running:,} running requests")
            yield measure(engines, running, rounds, folder, tick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
