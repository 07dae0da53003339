"""Ranks that share each layer: planted work before every collective, and what each rank then waits, known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine_probe.hook.workers import step_rows
from tests.support.devices.stand_in_workers import VirtualClock

Integers = npt.NDArray[np.int64]


@dataclass
class Forward:
    """One forward: `work_ns[rank, collective]` lies before each collective, which then takes `cost_ns`."""

    work_ns: Integers
    cost_ns: int

    def __post_init__(self) -> None:
        arrival = np.zeros(len(self.work_ns), dtype=np.int64)
        arrivals, ends = [], []
        for work in self.work_ns.T:
            arrival = arrival + work
            arrivals.append(arrival)
            ends.append(int(arrival.max()) + self.cost_ns)
            arrival = np.full(len(work), ends[-1])
        self.ends_ns = ends  # after the beginning of the forward, for all ranks
        self.waits_ns = np.max(arrivals, axis=1, keepdims=True) - np.array(arrivals)  # [collective, rank]
        self.late = np.argmax(arrivals, axis=1)  # the rank that each collective waited for


@dataclass
class Group:
    """Stands in for vLLM's GroupCoordinator on one rank: a collective returns when the plan says so."""

    clock: VirtualClock
    forward: Forward | None = None
    begun_ns: int = 0
    done: int = 0
    world_size: int = 2
    calls: list[Any] = field(default_factory=list)

    def all_reduce(self, tensor: Any) -> Any:
        return self._all_reduce_out_place(tensor)

    def _all_reduce_out_place(self, tensor: Any) -> Any:
        self.calls.append(tensor)
        if self.forward is None or self.done == len(self.forward.ends_ns):
            self.clock.spend(1_000)  # of the logits
        else:
            self.clock.ns = self.begun_ns + self.forward.ends_ns[self.done]
            self.done += 1
        return tensor

    def run(self, forward: Forward, rank: int) -> None:
        """Run a forward on this rank, from now on."""
        self.forward, self.begun_ns, self.done = forward, self.clock.ns, 0
        for work in forward.work_ns[rank].tolist():
            self.clock.spend(work)
            assert self.all_reduce("tensor") == "tensor"


def stand_in(monkeypatch: pytest.MonkeyPatch, group: Any) -> None:
    """Make this the group of the worker that is attached next."""
    monkeypatch.setattr(step_rows, "tensor_parallel_group", lambda: group)


def eager(worker: Any) -> Any:
    """Return the worker, whose engine is not compiled."""
    worker.vllm_config = SimpleNamespace(compilation_config=SimpleNamespace(mode=0))
    return worker
