"""The probe's cost per step beside that of vLLM's own statistics, on this machine.

Two like `LLMEngine`s and two with statistics take the same step in turns, over an executor that computes nothing and
with cold caches, one of the first two with the probe (`paired.py`). A step's time is the CPU time of its thread, which
other programs on a busy machine hardly change. Beside the whole step, two clocks tell the hot path alone: one around
the probe's replacements of the scheduler's methods, one around the methods themselves.
"""

import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter_ns as now
from time import thread_time_ns
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from engine_probe.hook.patches import Patches
from engine_probe.overhead import worker
from engine_probe.overhead.engine import build_engine
from engine_probe.overhead.paired import SEED, ColdCaches, PairedEstimate, estimate, ratio
from engine_probe.probe import Probe
from engine_probe.record.schema import SCHEMAS

RUNNING = (1, 32, 256)
PAIRS, MOST_PAIRS = 2_000, 3_800
MAX_MODEL_LEN = 4096
PROMPT_TOKENS = 64
LONGEST_ANSWER = MAX_MODEL_LEN - PROMPT_TOKENS - 64  # more than the steps of MOST_PAIRS
WARM_UP = 20
SNAPSHOT_SECONDS = 0.2
CORE_NS, TIMES_CHEAPER = {1: 5_000.0, 256: 10_000.0}, {1: 10.0, 256: 50.0}  # budgets by running requests
WORKER_NS = 15_000.0


class StepCost(msgspec.Struct, frozen=True):
    """Holds the costs at one number of running requests, in ns per iteration: medians with their intervals."""

    running: int
    pairs: int
    step_ns: float  # engine.step() without the probe and without statistics
    schedule_ns: float  # schedule() alone
    hot_path_ns: PairedEstimate  # in the probe's replacements of the scheduler's methods
    probe_ns: PairedEstimate  # of the whole step
    probe_counted_ns: float  # by the probe's own clock
    uncounted_ns: PairedEstimate  # of the whole step, without what the probe's own clock counted in it
    statistics_ns: PairedEstimate  # disable_log_stats=False
    details_ns: PairedEstimate  # ... and enable_logging_iteration_details
    times_cheaper: PairedEstimate  # details / probe, of the whole step
    hot_path_times_cheaper: PairedEstimate  # details / hot path
    of_schedule: (
        PairedEstimate  # hot path / schedule() of the same steps: much the same on a fast and on a slow machine
    )
    snapshot_ns: float  # a metrics snapshot every 200 ms, divided among the steps between two
    disk_bytes: float  # per iteration, of closed iterations files without the size of empty ones


class Costs(msgspec.Struct, frozen=True):
    worker_ns: PairedEstimate  # of a step and rank, phases on
    passing_ns: PairedEstimate  # the same with hooks that only pass the calls on
    collective_ns: PairedEstimate  # of one collective, which an eager CPU engine with tensor parallelism times
    core: tuple[StepCost, ...]


class Budget(msgspec.Struct, frozen=True):
    """Holds a limit, what was measured, and whether that meets it: met, missed or cannot be told."""

    what: str
    unit: str
    limit: float
    found: PairedEstimate
    verdict: str


def budgets(costs: Costs) -> Iterator[Budget]:
    """Judge the costs that have a budget."""

    def most(what: str, limit: float, found: PairedEstimate) -> Budget:
        return Budget(what, "ns", limit, found, found.at_most(limit))

    for cost in costs.core:
        if (limit := CORE_NS.get(cost.running)) is not None:
            yield most(f"core, {cost.running} running: hot path", limit, cost.hot_path_ns)
            yield most(f"core, {cost.running} running: whole step", limit, cost.probe_ns)
    yield most("worker, phases on", WORKER_NS, costs.worker_ns)
    for cost in costs.core:
        if (least := TIMES_CHEAPER.get(cost.running)) is not None:
            for part, found in (("hot path", cost.hot_path_times_cheaper), ("whole step", cost.times_cheaper)):
                what = f"with details / {part}, {cost.running} running"
                yield Budget(what, "", least, found, found.at_least(least))


class CallClock:
    """Counts the time inside methods of a scheduler."""

    METHODS = ("schedule", "update_from_output")  # what the probe replaces as well

    def __init__(self) -> None:
        self.ns = 0

    @contextmanager
    def around(self, scheduler: Any) -> Iterator[None]:
        patches = Patches()
        for name in self.METHODS:
            patches.replace(scheduler, name, self._timed(getattr(scheduler, name)))
        yield
        patches.undo()

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            before = now()
            result = call(*args, **kwargs)
            self.ns += now() - before
            return result

        return timed


class Subject:
    """Times the steps of an engine, as a whole and in what is attached to its scheduler."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.core = engine, engine.engine_core.engine_core
        self._around, self._inside = CallClock(), CallClock()

    @contextmanager
    def attached(self, attachment: AbstractContextManager[Any]) -> Iterator[Any]:
        with self._inside.around(self.core.scheduler), attachment as probe, self._around.around(self.core.scheduler):
            yield probe

    def step(self) -> tuple[int, int]:
        """Return the CPU time of a step, and the time between the two clocks in it."""
        between, before = self._around.ns - self._inside.ns, thread_time_ns()
        self.engine.step()
        return thread_time_ns() - before, self._around.ns - self._inside.ns - between


class Subjects:
    """Holds engines that compute nothing: two plain ones, one with statistics, one with iteration details as well."""

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self.plain = (self._build(), self._build())
        self.statistics = self._build(log_stats=True)
        self.details = self._build(log_stats=True, enable_logging_iteration_details=True)
        self.all = (*self.plain, self.statistics, self.details)

    def _build(self, **arguments: Any) -> Subject:
        arguments |= {"max_num_batched_tokens": max(8192, self._max_running * PROMPT_TOKENS)}
        return Subject(build_engine(self._max_running, MAX_MODEL_LEN, enable_prefix_caching=True, **arguments))

    @contextmanager
    def filled(self, running: int) -> Iterator[None]:
        """Give each engine that many requests; remove them afterwards."""
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=LONGEST_ANSWER, ignore_eos=True, detokenize=False)
        for subject in self.all:
            for index in range(running):
                prompt = [3 + (index * 7 + position) % 200 for position in range(PROMPT_TOKENS)]
                subject.engine.add_request(f"{running}-{index}", {"prompt_token_ids": prompt}, parameters)
        yield
        for subject in self.all:
            subject.engine.abort_request(list(subject.engine.output_processor.request_states), internal=True)
            while subject.core.scheduler.has_requests():
                subject.core.step_fn()


class Half:
    """Takes half of the pairs at one number of running requests, with the probe on one of the plain engines."""

    def __init__(self, subjects: Subjects, number: int, folder: Path) -> None:
        self._subjects, self._folder = subjects, folder
        self._probed, self._off = subjects.plain[number], subjects.plain[1 - number]
        self._order, self._chill = random.Random(SEED + number), ColdCaches()
        self.steps: dict[str, list[int]] = {name: [] for name in ("off", "probe", "statistics", "details")}
        self.hot_path: list[int] = []
        self.rows: Any = None
        self.disk_bytes = 0

    def take(self, pairs: int, tick: Callable[[], None]) -> None:
        names = {self._off: "off", self._probed: "probe"}
        names |= {self._subjects.statistics: "statistics", self._subjects.details: "details"}
        with (
            self._off.attached(nullcontext()),
            self._probed.attached(Probe(self._probed.engine, self._folder, telemetry=False)) as probe,
        ):
            for subject in names:
                for _ in range(WARM_UP):
                    subject.step()
            for _ in range(pairs):
                between = {}
                for subject in self._order.sample(tuple(names), len(names)):
                    self._chill()
                    step_ns, between[subject] = subject.step()
                    self.steps[names[subject]].append(step_ns)
                self.hot_path.append(between[self._probed] - between[self._off])
                tick()
        self.rows = probe.run.iterations.slice(probe.run.iterations.num_rows - pairs)
        table = probe.run.facts["tables"]["iterations"]
        self.disk_bytes = (table["bytes"] - empty_file_bytes()) / table["rows"]


def measure(subjects: Subjects, running: int, pairs: int, folder: Path, tick: Callable[[], None]) -> StepCost:
    """Measure one row of the table; `tick` is called after each pair."""
    halves = [Half(subjects, number, folder / f"{running}-{number}") for number in (0, 1)]
    with subjects.filled(running):  # once, because where an engine's objects lie in memory changes its steps
        for half in halves:
            half.take(pairs // 2, tick)
        snapshot_ns = metrics_snapshot_ns(subjects.statistics.engine)
    steps = {name: np.array([half.steps[name] for half in halves]) for name in halves[0].steps}
    counted, schedule = (
        np.array([half.rows[name].to_numpy() for half in halves]) for name in ("probe_ns", "schedule_ns")
    )
    hot_path = [half.hot_path for half in halves]
    more = {name: steps[name] - steps["off"] for name in ("probe", "statistics", "details")}
    step_ns = float(np.median(steps["off"]))
    return StepCost(
        running=running,
        pairs=pairs // 2 * 2,
        step_ns=step_ns,
        schedule_ns=float(np.median(schedule)),
        hot_path_ns=estimate(hot_path),
        probe_ns=estimate(more["probe"]),
        probe_counted_ns=float(np.median(counted)),
        uncounted_ns=estimate(more["probe"] - counted),
        statistics_ns=estimate(more["statistics"]),
        details_ns=estimate(more["details"]),
        times_cheaper=ratio(more["details"], more["probe"]),
        hot_path_times_cheaper=ratio(more["details"], hot_path),
        of_schedule=ratio(hot_path, schedule),
        snapshot_ns=snapshot_ns * step_ns / (SNAPSHOT_SECONDS * 1e9),
        disk_bytes=statistics.mean(half.disk_bytes for half in halves),
    )


def metrics_snapshot_ns(engine: Any) -> float:
    """Return the median time of reading all metrics, as a scrape does."""
    durations = []
    for _ in range(15):
        before = now()
        engine.get_metrics()
        durations.append(now() - before)
    return statistics.median(durations)


def empty_file_bytes() -> int:
    """Return the size of a file without rows, which holds the schema with its units and meanings."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMAS["iterations"]):
        pass
    return int(sink.getvalue().size)


def run(levels: tuple[int, ...], pairs: int, tick: Callable[[], None], say: Callable[[str], None]) -> Costs:
    """Measure the worker and then each level; recordings go to a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="engine_probe-overhead-"))
    try:
        say("measuring a worker")
        worker_ns = worker.measure(pairs, folder, tick)
        passing_ns = worker.measure_passing(pairs, folder, tick)
        collective_ns = worker.measure_collective(pairs, folder, tick)
        say("starting four engines that compute nothing")
        subjects, core = Subjects(max(levels)), []
        for running in levels:
            say(f"measuring with {running:,} running requests")
            core.append(measure(subjects, running, pairs, folder, tick))
        return Costs(worker_ns, passing_ns, collective_ns, tuple(core))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
