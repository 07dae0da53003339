"""torch's profiler around a window of steps in a worker; the steps outside the window are not touched.

The profiler starts where the first step of the window begins and stops where the last one has ended, on the worker's
own thread, to which torch ties it. What it saw is folded into rows only when the recording ends, because that takes
seconds for a large model. Layers are told apart by hooks on the modules of an eager model, for the window only: under
compilation a hook could make torch compile again, and CUDA graphs do not call modules at all.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns as now
from time import time_ns
from typing import Any

from engine_probe.errors import InputError, reason_of, reported_to
from engine_probe.hook.patches import Patches
from engine_probe.hook.workers.operator_kinds import layer_kind
from engine_probe.hook.workers.operator_rows import MARK, OperatorEvent, TimeSpan, folded, slice_rows
from engine_probe.hook.workers.phases import WorkerStep
from engine_probe.record.run_json import OperatorWindow
from engine_probe.record.writer import TableStream

logger = logging.getLogger(__name__)

LAUNCHING = ("cuda_runtime", "cuda_driver")  # kineto's kinds of calls that have a number in common with a kernel
CLOCK_READINGS = 10
NOTES = ("gpu_user_annotation", "overhead", "cuda_sync", "python_function")  # what is neither operator nor kernel


class WindowProfiler:
    """Profiles one window of steps of one worker. Its failures stay inside, and `close` returns them."""

    def __init__(self, window: OperatorWindow, rank: int, worker: Any, called: Any, folder: Path) -> None:
        self.first, self.last = window.first, window.last
        self.failure: str | None = None
        self.layers_missing: str | None = None
        self._rank, self._worker, self._folder = rank, worker, folder
        self._called = called  # the object whose execute_model() the executor calls
        self._steps: list[WorkerStep] = []
        self._clocks: list[int] = []  # our clock less the profiler's, where the window began and ended
        self._layers: list[tuple[int, str | None]] = []  # when a layer began, or ended (None)
        self._handles: list[Any] = []
        self._began_ns = self._ended_ns = 0
        self._left_out = 0
        self._thread = 0  # on which the profiler runs
        self._profiler: Any = None
        self._stopped: Any = None  # the profiler with what it saw
        with self._make():  # what CUDA needs for profiling is made now, and not in the first step of the window
            pass

    def _make(self) -> Any:
        from torch.profiler import ProfilerActivity, profile

        refuse_a_second_profiler()
        activities = [ProfilerActivity.CPU]
        if getattr(getattr(self._worker, "device", None), "type", None) == "cuda":
            activities.append(ProfilerActivity.CUDA)
        return profile(activities=activities, record_shapes=False, with_stack=False, profile_memory=False)

    @property
    def running(self) -> bool:
        """Tell whether the profiler runs."""
        return self._profiler is not None

    def named(self, name: str, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a collective under its name, because what waits in it may be no operator of torch's."""
        from torch.profiler import record_function

        with record_function(f"vllm::{name}"):
            return call(*args, **kwargs)

    def begin_step(self, number: int) -> None:
        """Call this before each step of the window."""
        with reported_to(self._fail):
            if number == self.first:
                self._start()

    def end_step(self, step: WorkerStep) -> None:
        """Call this after each step of the window."""
        if self._profiler is None:
            return
        self._steps.append(replace(step, start=None, end=None))
        if step.number >= self.last:
            self.stop()

    def _start(self) -> None:
        from torch.profiler import record_function

        self._began_ns = now()
        self._thread = threading.get_ident()
        self._clocks.append(after_wall_clock())
        profiler = self._make()
        profiler.__enter__()
        self._profiler = profiler
        self._hook_layers()
        with record_function(MARK):
            pass

    def _hook_layers(self) -> None:
        self.layers_missing = why_compiled(self._worker)
        if self.layers_missing is not None:
            return
        runner, noted = self._worker.model_runner, self._layers
        for module, kind in layers(runner.get_model() if hasattr(runner, "get_model") else runner.model):
            self._handles.append(module.register_forward_pre_hook(noting(noted, kind)))
            self._handles.append(module.register_forward_hook(noting(noted, None)))

    def stop(self) -> None:
        """Stop the profiler, at once on the worker's thread, and from another one before the worker's next step."""
        if self._profiler is None:
            return
        if threading.get_ident() == self._thread:
            self._stop()
            return
        gate = Patches()

        def execute_model(*args: Any, **kwargs: Any) -> Any:
            gate.undo()
            self._stop()
            return call(*args, **kwargs)

        call = gate.replace(self._called, "execute_model", execute_model)

    def _stop(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is None:  # two threads have asked for it
            return
        for handle in self._handles:
            with reported_to(self._fail):
                handle.remove()
        with reported_to(self._fail):
            profiler.__exit__(None, None, None)
            self._clocks.append(after_wall_clock())
            self._stopped = profiler
        self._ended_ns = now()

    def _fail(self, error: Exception) -> None:
        self.failure = self.failure or reason_of(error)
        logger.exception("engine_probe could not profile the operators of worker %d", self._rank)
        self.stop()

    def close(self) -> dict[str, Any]:
        """Write what was seen; return what `run.json` holds about it."""
        self.stop()
        if self._profiler is not None:  # it goes on until the worker's next step, when nothing is written any more
            self.failure, self._ended_ns = "another thread ended the recording within the window", now()
        rows = slices = 0
        with reported_to(self._fail):
            rows, slices = self._write()
        return {
            "steps": len(self._steps),
            "began_ns": self._began_ns,
            "ended_ns": self._ended_ns,
            "rows": rows,
            "slices": slices,
            "slices_left_out": self._left_out,
            "layers_missing": self.layers_missing,
            "failure": self.failure,
        }

    def _write(self) -> tuple[int, int]:
        stopped, self._stopped = self._stopped, None
        known = stopped is not None and self.failure is None
        events, lane = on_host_clock(stopped, sum(self._clocks) // 2) if known else ([], 0)
        found = folded(events, self._steps, layer_spans(self._layers, self._ended_ns), lane) if events else []
        slices, self._left_out = slice_rows(events, self._steps, lane)
        operators = [(key[0], self._rank, *key[1:], calls, ns) for key, calls, ns in found]
        counts = []
        for table, rows in (("operators", operators), ("operator_slices", [(self._rank, *row) for row in slices])):
            stream = TableStream(self._folder, table, f"{table}-{self._rank}")
            try:
                if rows:
                    stream.write(list(zip(*rows, strict=True)))
            finally:
                stream.close()
            counts.append(stream.rows)
        return counts[0], counts[1]


def noting(noted: list[tuple[int, str | None]], kind: str | None) -> Callable[..., None]:
    """Return a hook for a module that notes when a layer of this kind begins, or with None that one has ended."""

    def note(*_: Any) -> None:
        noted.append((now(), kind))

    return note


def layers(module: Any) -> list[tuple[Any, str]]:
    """Return the outermost modules that are layers of a known kind."""
    kind = layer_kind(type(module).__name__)
    if kind is not None:
        return [(module, kind)]
    return [found for child in module.children() for found in layers(child)]


def layer_spans(noted: list[tuple[int, str | None]], until: int) -> list[TimeSpan]:
    """Return when each layer ran, from what the hooks noted."""
    ends = [*(moment for moment, _ in noted[1:]), *([until] if noted else [])]
    return [TimeSpan(moment, end, kind) for (moment, kind), end in zip(noted, ends, strict=True) if kind is not None]


def why_compiled(worker: Any) -> str | None:
    """Return the reason why Python sees neither layers nor collectives of a worker's model, else None."""
    try:
        mode = int(worker.vllm_config.compilation_config.mode or 0)
    except (AttributeError, TypeError, ValueError) as error:
        return f"this vLLM does not tell whether the model is compiled ({type(error).__name__})"
    return f"the model is compiled (mode {mode}); with enforce_eager they are told apart" if mode else None


def after_wall_clock() -> int:
    """Return our clock less the wall clock, which the profiler's times are; the narrowest of some readings counts."""
    readings = []
    for _ in range(CLOCK_READINGS):
        before, wall, after = now(), time_ns(), now()
        readings.append((after - before, (before + after) // 2 - wall))
    return min(readings)[1]


def on_host_clock(profiler: Any, by: int) -> tuple[list[OperatorEvent], int]:
    """Return what a profiler saw, moved to our clock, and its number of the worker's thread."""
    seen = [each for each in profiler.profiler.kineto_results.events() if each.activity_type() not in NOTES]
    lanes = [each.start_thread_id() for each in seen if each.name() == MARK]
    if not lanes:
        raise RuntimeError("the profiler did not see the worker's thread")
    return [event_of(each, by) for each in seen if each.name() != MARK], lanes[0]


def event_of(seen: Any, by: int) -> OperatorEvent:
    """Return an event of kineto, moved by this much."""
    start = seen.start_ns() + by
    on_device = seen.device_type().name == "CUDA"
    return OperatorEvent(
        name=seen.name(),
        start_ns=start,
        end_ns=start + seen.duration_ns(),
        lane=seen.device_resource_id() if on_device else seen.start_thread_id(),
        on_device=on_device,
        launch=seen.correlation_id() if on_device or seen.activity_type() in LAUNCHING else 0,
    )


def check_engine(core: Any) -> None:
    """Refuse an engine that profiles already, and a torch without a profiler, before anything is attached."""
    if kind := getattr(getattr(core.vllm_config, "profiler_config", None), "profiler", None):
        raise InputError(
            f"this engine has a profiler already (profiler_config.profiler is {kind!r}), and torch runs one at a time: "
            "build it without, or leave operators out"
        )
    check_torch()
    refuse_a_second_profiler()


def check_torch() -> None:
    """Refuse a torch that was built without its profiler."""
    import torch

    if not torch.autograd.kineto_available():
        raise InputError(f"torch {torch.__version__} was built without its profiler: leave operators out")


def refuse_a_second_profiler() -> None:
    """Raise an error if a profiler of torch is running: torch would mix up what two of them see."""
    import torch

    if torch._C._autograd._profiler_enabled():
        raise InputError("a profiler of torch is running, and torch runs one at a time: end it, or leave operators out")
