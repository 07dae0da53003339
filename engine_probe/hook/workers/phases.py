"""The phases of a step inside a worker, on the host's clock.

vLLM's runner V1 has a method for the forward and one for bookkeeping. Its runner V2 tells where the forward begins;
behind the forward it launches nothing until `execute_model` returns. Both are methods of instances, so that nothing
changes for other engines in the process. The phases follow from five moments, without a gap between them:

    input preparation   from execute_model() to the forward
    forward             launches the kernels on a GPU, computes on a CPU
    logits              from the forward to the return of execute_model(); with runner V2 a part of sampling
    sampling            from sample_tokens() to bookkeeping, drafting included
    bookkeeping         until sample_tokens() returns; without asynchronous scheduling the host waits for a GPU here
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.patches import Patches


@dataclass(slots=True)
class Step:
    """Holds one step of a worker. Steps are used again once their rows are written, so that none is allocated."""

    number: int = 0
    called: int = 0
    forward_called: int | None = None
    forward_returned: int | None = None
    returned: int = 0
    sample_called: int | None = None
    bookkeeping_called: int | None = None
    sample_returned: int = 0
    scheduled_tokens: int = 0
    start: Any = None  # CUDA events, or None without a GPU
    end: Any = None

    def begin(self, number: int) -> None:
        self.number = number
        self.forward_called = self.forward_returned = self.sample_called = self.bookkeeping_called = None
        self.start = self.end = None

    def row(self, rank: int) -> tuple[Any, ...]:
        """Return the row of `workers`, in the order of its schema."""
        device = None if self.end is None else round(self.start.elapsed_time(self.end) * 1e6)
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
            None,
            device,
            self.scheduled_tokens,
        )


class PhaseMarks:
    """Notes when the step in progress passes from one phase to the next; `missing` is the reason if it cannot."""

    def __init__(self, runner: Any, patches: Patches) -> None:
        self.step: Step | None = None
        self._patches = patches
        self.missing: str | None = None
        if hasattr(runner, "_model_forward"):
            self._call_forward = patches.replace(runner, "_model_forward", self._forward)
            if hasattr(runner, "_bookkeeping_sync"):
                self._call_bookkeeping = patches.replace(runner, "_bookkeeping_sync", self._bookkeeping)
        elif hasattr(runner, "step_timing"):
            self._call_start = patches.replace(runner.step_timing, "forward_start", self._forward_start)
        else:
            self.missing = f"{type(runner).__name__} of this vLLM does not tell where its forward begins"

    def end_forward(self, step: Step) -> None:
        """Note the end of a forward that the runner does not tell: nothing is launched between it and this call."""
        if step.forward_called is not None and step.forward_returned is None:
            step.forward_returned = now()

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        step = self.step
        if step is None or not self._patches.active:
            return self._call_forward(*args, **kwargs)
        step.forward_called = now()
        output = self._call_forward(*args, **kwargs)
        step.forward_returned = now()
        return output

    def _forward_start(self, *args: Any, **kwargs: Any) -> Any:
        output = self._call_start(*args, **kwargs)
        if self.step is not None and self._patches.active:
            self.step.forward_called = now()
        return output

    def _bookkeeping(self, *args: Any, **kwargs: Any) -> Any:
        if self.step is not None and self._patches.active:
            self.step.bookkeeping_called = now()
        return self._call_bookkeeping(*args, **kwargs)
