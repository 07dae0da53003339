"""How long each collective of a tensor parallel forward took a rank, on a CPU.

The methods with which vLLM's group computes a collective are replaced on its instance. Only an eager engine on a CPU
calls them in every step: on a GPU the host merely launches a collective, and compiled code no longer has these calls.
A third reading of the clock counts a part of what timing one costs; `engine_probe overhead` measures all of it. Without
tensor parallelism and on a GPU nothing is replaced.
"""

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.patches import Patches
from engine_probe.hook.workers.operators import WindowProfiler, why_compiled
from engine_probe.hook.workers.phases import PhaseMarks
from engine_probe.record.writer import TableStream

TABLE = "collectives"
METHODS = ("_all_reduce_out_place", "_all_gather_out_place", "_reduce_scatter_out_place")
ON_A_GPU = "on a GPU the host only launches them, and a window of operators is needed"


class CollectiveTimes:
    """Times the collectives in the forwards of one worker; `missing` is the reason if that is not possible."""

    def __init__(
        self,
        group: Any,  # of the ranks that share each layer, or None
        worker: Any,
        rank: int,
        folder: Path,
        patches: Patches,
        marks: PhaseMarks,
        window: WindowProfiler | None,
    ) -> None:
        self._rank, self._patches, self._marks, self._window = rank, patches, marks, window
        self._timed: deque[tuple[int, int]] = deque()  # number of the step and time; for the writing thread
        self._spent_ns = [0]  # on noting them; a list, because the hooks of all methods add to it
        self._stream: TableStream | None = None
        self.missing = None if group is None else why_missing(worker)
        if group is None or self.missing is not None:
            return
        self._stream = TableStream(folder, TABLE, f"{TABLE}-{rank}")
        for name in METHODS:
            if hasattr(group, name):
                patches.replace(group, name, self._hook(name.strip("_"), getattr(group, name)))

    # A closure over local names: every layer has two collectives, and attributes would cost half as much again.
    def _hook(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of one method; in a window of operators it gives the collective a name there."""
        patches, marks, window, note = self._patches, self._marks, self._window, self._timed.append
        spent = self._spent_ns

        def collective(*args: Any, **kwargs: Any) -> Any:
            step = marks.step
            if step is None or not patches.active:
                return call(*args, **kwargs)
            if window is not None and window.running:
                return window.named(name, call, args, kwargs)
            if step.forward_called is None or step.forward_returned is not None:
                return call(*args, **kwargs)
            before = now()
            output = call(*args, **kwargs)
            returned = now()
            note((step.number, returned - before))
            spent[0] += now() - returned
            return output

        return collective

    def drain(self, unfinished: bool = False) -> None:
        """Write the steps that are over, and with `unfinished` the last one; the writing thread calls this."""
        timed, steps = self._timed, dict[int, list[int]]()
        while timed and (unfinished or timed[0][0] != timed[-1][0]):
            number, ns = timed.popleft()
            steps.setdefault(number, []).append(ns)
        if self._stream is not None and steps:
            self._stream.write([list(steps), [self._rank] * len(steps), list(steps.values())])

    def close(self) -> None:
        """Write the rest, when no step is in progress."""
        if self._stream is not None:
            self.drain(unfinished=True)
            self._stream.close()

    @property
    def probe_ns(self) -> int | None:
        """Return what a clock sees of the time that noting them took. None if collectives are not timed."""
        return None if self._stream is None else self._spent_ns[0]

    @property
    def rows(self) -> int | None:
        """Return the number of rows written. None if collectives are not timed."""
        return None if self._stream is None else self._stream.rows


def tensor_parallel_group() -> Any:
    """Return vLLM's group of the ranks that share each layer with this process's worker. None if it has it alone."""
    state = sys.modules.get("vllm.distributed.parallel_state")  # importing it here would take seconds
    try:
        group = None if state is None else state.get_tp_group()
    except AssertionError:  # a substitute executor has no groups
        return None
    return group if group is not None and group.world_size > 1 else None


def why_missing(worker: Any) -> str | None:
    """Return the reason why the host cannot time a worker's collectives, else None."""
    if getattr(getattr(worker, "device", None), "type", None) == "cuda":
        return ON_A_GPU
    return why_compiled(worker)
