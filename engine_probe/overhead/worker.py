"""The cost of the hook in a worker: a stand-in worker whose phases only make the caches cold, with and without it."""

import random
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns as now
from types import SimpleNamespace
from typing import Any

from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.overhead.paired import SEED, ColdCaches, Estimate, estimate

WARM_UP = 20
OUTPUT = SimpleNamespace(total_num_scheduled_tokens=1)  # what a step reads of a SchedulerOutput
BATCH = (SimpleNamespace(value=0), SimpleNamespace(num_tokens=1))  # and of the batch that vLLM settles


class Runner:
    """Stands in for vLLM's model runner."""

    def __init__(self) -> None:
        self._chill, self.chilling_ns = ColdCaches(), 0

    def chill(self) -> None:
        """Make the caches cold and count how long that took."""
        before = now()
        self._chill()
        self.chilling_ns += now() - before

    def _determine_batch_execution_and_padding(self) -> tuple[Any, ...]:
        self.chill()
        return BATCH

    def _model_forward(self, *args: Any, **kwargs: Any) -> None:
        self.chill()

    def _bookkeeping_sync(self, *args: Any, **kwargs: Any) -> None:
        self.chill()

    def execute_model(self, scheduler_output: Any) -> None:
        self.chill()
        self._determine_batch_execution_and_padding()
        self._model_forward()

    def sample_tokens(self, grammar_output: Any) -> str:
        self.chill()
        self._bookkeeping_sync()
        return "tokens"


class Worker:
    """Stands in for vLLM's worker."""

    rank = 0

    def __init__(self) -> None:
        self.model_runner = Runner()

    def execute_model(self, scheduler_output: Any) -> None:
        return self.model_runner.execute_model(scheduler_output)

    def sample_tokens(self, grammar_output: Any) -> str:
        return self.model_runner.sample_tokens(grammar_output)

    def step_ns(self) -> int:
        """Take a step from cold caches; return its time without that of making them cold."""
        self.model_runner.chill()
        chilled, before = self.model_runner.chilling_ns, now()
        self.execute_model(OUTPUT)
        self.sample_tokens(None)
        return now() - before - (self.model_runner.chilling_ns - chilled)


def measure(pairs: int, folder: Path, tick: Callable[[], None]) -> Estimate:
    """Return what the hook adds to a step of a worker."""
    workers, order = (Worker(), Worker()), random.Random(SEED)
    halves = []
    for half in (0, 1):
        hooked, plain = workers[half], workers[1 - half]
        (path := folder / f"worker-{half}").mkdir(parents=True)
        if reason := attach(hooked, str(path)):
            raise RuntimeError(reason)
        for _ in range(WARM_UP):
            hooked.step_ns(), plain.step_ns()
        differences = []
        for _ in range(pairs // 2):
            times = {worker: worker.step_ns() for worker in order.sample(workers, 2)}
            differences.append(times[hooked] - times[plain])
            tick()
        report = detach(hooked)
        if report is None or report["failure"]:
            raise RuntimeError(report["failure"] if report else "the worker lost its hook")
        halves.append(differences)
    return estimate(halves)
