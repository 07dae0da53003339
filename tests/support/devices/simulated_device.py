"""GPUs on a virtual clock: streams, events, asynchronous launches with their cost on the host, `elapsed_time`.

A kernel begins when the host has launched it and the stream is free. An event is passed when everything before it on
the stream is done. Each device's clock runs at a rate of its own, and `elapsed_time` is a 32-bit float of milliseconds.
The truth about every forward is kept in `Device.forwards`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from engine_probe.hook.workers import device_events
from tests.support.devices.stand_in_workers import VirtualClock

RECORD_NS = 2_000
WAKE_NS = 5_000  # from the device's end to the return of synchronize()


@dataclass
class Device:
    """One GPU with one stream; its clock gains `drift` on the host's."""

    index: int
    clock: VirtualClock
    drift: float = 0.0
    free_at: int = 0
    forwards: list[tuple[int, int]] = field(default_factory=list)  # begin and end, in the host's time

    def launch(self, device_ns: int, host_ns: int) -> tuple[int, int]:
        """Launch a kernel; return when it begins and ends."""
        self.clock.spend(host_ns)
        begin = max(self.clock.ns, self.free_at)
        self.free_at = begin + device_ns
        return begin, self.free_at

    def forward(self, kernels: int, device_ns: int, host_ns: int) -> None:
        spans = [self.launch(device_ns, host_ns) for _ in range(kernels)]
        self.forwards.append((spans[0][0], spans[-1][1]))

    def wait(self) -> None:
        if self.free_at > self.clock.ns:
            self.clock.ns = self.free_at + WAKE_NS


@dataclass
class SimulatedCuda:
    """Stands in for `torch.cuda`."""

    clock: VirtualClock
    devices: list[Device]
    contexts: set[int] = field(default_factory=set)  # devices on which a thread opened a context
    waits: int = 0
    made: int = 0
    thread: Any = field(default_factory=threading.local)

    def set_device(self, device: Any) -> None:
        self.thread.index = device.index

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        """Choose a device within the block; torch leaves the thread as it was."""
        before = getattr(self.thread, "index", None)
        self.thread.index = device.index
        yield
        if before is None:
            del self.thread.index
        else:
            self.thread.index = before

    def current(self) -> Device:
        index: int = getattr(self.thread, "index", 0)
        self.contexts.add(index)
        return self.devices[index]

    def __post_init__(self) -> None:
        self.Event = self._event  # torch's name of the class

    def _event(self, enable_timing: bool = False) -> Event:
        assert enable_timing
        self.made += 1
        return Event(self)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock.install(monkeypatch)
        monkeypatch.setattr(device_events, "now", self.clock.now)
        monkeypatch.setattr(device_events, "cuda", lambda: self)


class Event:
    def __init__(self, cuda: SimulatedCuda) -> None:
        self.cuda = cuda
        self.passed: int | None = None
        self.device: Device | None = None

    def record(self) -> None:
        self.device = self.cuda.current()
        self.cuda.clock.spend(RECORD_NS)
        self.passed = max(self.cuda.clock.ns, self.device.free_at)

    def query(self) -> bool:
        self.cuda.current()
        assert self.passed is not None
        return self.passed <= self.cuda.clock.ns

    def synchronize(self) -> None:
        self.cuda.current()
        self.cuda.waits += 1
        assert self.passed is not None
        self.cuda.clock.ns = max(self.cuda.clock.ns, self.passed + WAKE_NS)

    def elapsed_time(self, later: Event) -> float:
        assert self.query()
        assert later.query()
        assert self.device is later.device
        assert self.device is not None
        assert self.passed is not None
        assert later.passed is not None
        milliseconds = (later.passed - self.passed) * (1 + self.device.drift) / 1e6
        return float(np.float32(milliseconds))
