"""The cost of the hooks in a worker: stand-ins whose work only makes the caches cold, with and without a hook.

One is the hook of a step with its phases. The other is that of one collective, of which an eager CPU engine with tensor
parallelism has two in every layer. Beside the hook of a step stand replacements of the same methods that only pass the
calls on: less no hook can cost, and how many times of that ours costs is much the same on a fast and on a slow machine.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import perf_counter_ns as now
from types import SimpleNamespace
from typing import Any

from engine_probe.hook.patches import Patches
from engine_probe.hook.workers.collectives import CollectiveTimes
from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.overhead.paired import SEED, ColdCaches, PairedEstimate, estimate

WARM_UP = 20
OUTPUT = SimpleNamespace(total_num_scheduled_tokens=1)  # what a step reads of a SchedulerOutput
BATCH = (SimpleNamespace(value=0), SimpleNamespace(num_tokens=1))  # and of the batch that vLLM settles
MARKS: Any = SimpleNamespace(step=SimpleNamespace(number=0, forward_called=1, forward_returned=None))
EAGER = SimpleNamespace(vllm_config=SimpleNamespace(compilation_config=SimpleNamespace(mode=0)))


class Chilled:
    """Makes the caches cold and counts how long that took."""

    def __init__(self) -> None:
        self._chill, self.chilling_ns = ColdCaches(), 0

    def chill(self) -> None:
        before = now()
        self._chill()
        self.chilling_ns += now() - before

    def time_ns(self, call: Callable[[], None]) -> int:
        """Return the time of a call from cold caches, without that of making them cold."""
        self.chill()
        chilled, before = self.chilling_ns, now()
        call()
        return now() - before - (self.chilling_ns - chilled)


class Runner(Chilled):
    """Stands in for vLLM's model runner."""

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


class StandInWorker:
    """Stands in for vLLM's worker."""

    rank = 0

    def __init__(self) -> None:
        self.model_runner = Runner()

    def execute_model(self, scheduler_output: Any) -> None:
        return self.model_runner.execute_model(scheduler_output)

    def sample_tokens(self, grammar_output: Any) -> str:
        return self.model_runner.sample_tokens(grammar_output)

    def step(self) -> None:
        self.execute_model(OUTPUT)
        self.sample_tokens(None)

    def step_ns(self) -> int:
        return self.model_runner.time_ns(self.step)


class Group(Chilled):
    """Stands in for vLLM's group of the ranks that share each layer."""

    def _all_reduce_out_place(self, tensor: Any) -> None:
        self.chill()

    def step(self) -> None:
        self._all_reduce_out_place(None)

    def step_ns(self) -> int:
        return self.time_ns(self.step)


@contextmanager
def hooked_worker(worker: StandInWorker, folder: Path) -> Iterator[None]:
    if reason := attach(worker, str(folder)):
        raise RuntimeError(reason)
    yield
    report = detach(worker)
    if report is None or report["failure"]:
        raise RuntimeError(report["failure"] if report else "the worker lost its hook")


@contextmanager
def passed_on(worker: StandInWorker, folder: Path) -> Iterator[None]:
    """Replace what the hook replaces, by functions that do nothing."""

    def passing(call: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs)

        return replacement

    with hooked_worker(worker, folder):
        hooked = [(target, name) for target in (worker, worker.model_runner) for name in vars(target)]
        names = [(target, name) for target, name in hooked if callable(getattr(type(target), name, None))]
    patches = Patches()
    for target, name in names:
        patches.replace(target, name, passing(getattr(target, name)))
    yield
    patches.undo()


@contextmanager
def hooked_group(group: Group, folder: Path) -> Iterator[None]:
    patches = Patches()
    times = CollectiveTimes(group, EAGER, 0, folder, patches, MARKS, None)
    patches.active = True
    yield
    patches.undo()
    times.close()


def measure(pairs: int, folder: Path, tick: Callable[[], None]) -> PairedEstimate:
    """Return what the hook adds to a step of a worker."""
    return added((StandInWorker(), StandInWorker()), hooked_worker, pairs, folder / "worker", tick)


def measure_passing(pairs: int, folder: Path, tick: Callable[[], None]) -> PairedEstimate:
    """Return what replacements that do nothing add to a step of a worker."""
    return added((StandInWorker(), StandInWorker()), passed_on, pairs, folder / "passing", tick)


def measure_collective(pairs: int, folder: Path, tick: Callable[[], None]) -> PairedEstimate:
    """Return what the hook adds to a collective."""
    return added((Group(), Group()), hooked_group, pairs, folder / "collective", tick)


def added(
    subjects: tuple[Any, Any],
    hook: Callable[[Any, Path], AbstractContextManager[None]],
    pairs: int,
    folder: Path,
    tick: Callable[[], None],
) -> PairedEstimate:
    """Return what a hook adds to a step; each of two like subjects is hooked for half of the pairs."""
    order, halves = random.Random(SEED), []
    for half in (0, 1):
        hooked, plain = subjects[half], subjects[1 - half]
        (path := folder / f"{half}").mkdir(parents=True)
        differences = []
        with hook(hooked, path):
            for _ in range(WARM_UP):
                hooked.step_ns(), plain.step_ns()
            for _ in range(pairs // 2):
                times = {subject: subject.step_ns() for subject in order.sample(subjects, 2)}
                differences.append(times[hooked] - times[plain])
                tick()
        halves.append(differences)
    return estimate(halves)
