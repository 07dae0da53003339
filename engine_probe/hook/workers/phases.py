"""The phases of a step inside a worker, on the host's clock.

vLLM's runner V1 has a method for the forward and one for bookkeeping. Its runner V2 tells where the forward begins;
behind the forward it launches nothing until `execute_model` returns. Both are methods of instances, so that nothing
changes for other engines in the process. The phases follow from five moments, without a gap between them:

    input preparation   from execute_model() to the forward
    forward             launches the kernels on a GPU, computes on a CPU
    logits              from the forward to the return of execute_model(); with runner V2 a part of sampling
    sampling            from sample_tokens() to bookkeeping, drafting included
    bookkeeping         until sample_tokens() returns; without asynchronous scheduling the host waits for a GPU here

Both runners also have a method that every batch passes once its CUDA graph and its padding are settled, data parallel
ranks included: runner V1 returns them from it, runner V2 is given the one and returns the other.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.patches import Patches, argument
from engine_probe.hook.workers.device_events import DeviceEvents


@dataclass(slots=True)
class WorkerStep:
    """Holds one step of a worker, in slots: from cold caches a dictionary of fields costs a tenth of all hooks."""

    number: int = 0
    called: int = 0
    forward_called: int | None = None
    forward_returned: int | None = None
    returned: int = 0  # until execute_model() has returned
    sample_called: int | None = None
    bookkeeping_called: int | None = None
    sample_returned: int = 0
    scheduled_tokens: int = 0
    start: Any = None  # CUDA events beside the forward, or None without a GPU
    end: Any = None
    graph_mode: Any = None  # vLLM's CUDAGraphMode, or None if the runner does not tell it
    computed_tokens: int | None = None

    def row(self, rank: int, on_device: tuple[int, int] | tuple[None, None]) -> tuple[Any, ...]:
        """Return the row of `workers`, in the order of its schema, given when and how long the device ran."""
        forward_ns = None if self.forward_called is None else (self.forward_returned or 0) - self.forward_called
        sampled, kept = self.sample_called is not None, self.bookkeeping_called is not None
        return (
            self.number,
            rank,
            self.called,
            self.forward_called,
            forward_ns,
            self.returned - self.called,
            self.sample_called,
            self.sample_returned - (self.sample_called or 0) if sampled else 0,
            self.sample_returned - (self.bookkeeping_called or 0) if sampled and kept else None,
            *on_device,
            self.scheduled_tokens,
            None if self.graph_mode is None else self.graph_mode.value,
            self.computed_tokens,
        )


# Sets no field and is one call; the hook of execute_model() sets them.
new_step: Callable[[], Any] = partial(WorkerStep.__new__, WorkerStep)


class PhaseMarks:
    """Notes when the step in progress passes from one phase to the next; `missing` is the reason if it cannot."""

    __slots__ = ("_call_prepare", "_call_start", "_descriptor_at", "_events", "_fail", "_patches", "missing", "step")

    def __init__(
        self, runner: Any, patches: Patches, fail: Callable[[Exception], None], events: DeviceEvents | None
    ) -> None:
        self.step: WorkerStep | None = None
        self._patches, self._fail, self._events = patches, fail, events
        self.missing: str | None = None
        if hasattr(runner, "_model_forward"):
            patches.replace(runner, "_model_forward", self._forward_hook(runner._model_forward))
            if hasattr(runner, "_bookkeeping_sync"):
                patches.replace(runner, "_bookkeeping_sync", self._bookkeeping_hook(runner._bookkeeping_sync))
        elif hasattr(runner, "step_timing"):
            self._call_start = patches.replace(runner.step_timing, "forward_start", self._forward_start)
        else:
            self.missing = f"{type(runner).__name__} of this vLLM does not tell where its forward begins"
        if hasattr(runner, "_determine_batch_execution_and_padding"):
            settle = runner._determine_batch_execution_and_padding
            patches.replace(runner, "_determine_batch_execution_and_padding", self._padding_hook(settle))
        elif hasattr(runner, "prepare_inputs"):
            self._descriptor_at = list(inspect.signature(runner.prepare_inputs).parameters).index("batch_desc")
            self._call_prepare = patches.replace(runner, "prepare_inputs", self._prepare)

    def end_forward(self, step: WorkerStep) -> None:
        """Note the end of the step's first forward; behind it the runner launches nothing until this is called."""
        step.forward_returned = now()
        if step.start is not None and self._events is not None:
            step.end = self._events.record()

    def _begin_forward(self, step: WorkerStep) -> None:
        if self._events is not None:
            step.start = self._events.record()
        step.forward_called = now()

    # Closures without further calls where they can, because a model leaves the CPU's caches cold.
    def _forward_hook(self, call: Callable[..., Any]) -> Callable[..., Any]:
        marks, patches, fail, clock, on_device = self, self._patches, self._fail, now, self._events is not None

        def forward(*args: Any, **kwargs: Any) -> Any:
            step = marks.step
            if step is None or step.forward_called is not None or not patches.active:
                return call(*args, **kwargs)
            if not on_device:
                step.forward_called = clock()
                output = call(*args, **kwargs)
                step.forward_returned = clock()
                return output
            try:
                marks._begin_forward(step)
            except Exception as error:
                fail(error)
            output = call(*args, **kwargs)
            try:
                marks.end_forward(step)
            except Exception as error:
                fail(error)
            return output

        return forward

    def _forward_start(self, *args: Any, **kwargs: Any) -> Any:
        output = self._call_start(*args, **kwargs)
        step = self.step
        if step is not None and step.forward_called is None and self._patches.active:
            try:
                self._begin_forward(step)
            except Exception as error:
                self._fail(error)
        return output

    def _bookkeeping_hook(self, call: Callable[..., Any]) -> Callable[..., Any]:
        marks, patches, clock = self, self._patches, now

        def bookkeeping(*args: Any, **kwargs: Any) -> Any:
            step = marks.step
            if step is not None and patches.active:
                step.bookkeeping_called = clock()
            return call(*args, **kwargs)

        return bookkeeping

    def _padding_hook(self, call: Callable[..., Any]) -> Callable[..., Any]:
        marks, patches, fail = self, self._patches, self._fail

        def settle(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            step = marks.step
            if step is not None and step.forward_called is None and patches.active:
                try:
                    step.graph_mode = output[0]
                    step.computed_tokens = output[1].num_tokens
                except Exception as error:
                    fail(error)
            return output

        return settle

    def _prepare(self, *args: Any, **kwargs: Any) -> Any:
        output = self._call_prepare(*args, **kwargs)
        step = self.step
        if step is not None and step.forward_called is None and self._patches.active:
            try:
                step.graph_mode = argument(args, kwargs, self._descriptor_at, "batch_desc").cg_mode
                step.computed_tokens = output.num_tokens_after_padding
            except Exception as error:
                self._fail(error)
        return output
