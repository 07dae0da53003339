"""What every test is given: one device, its clock, how hard to try, and when to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from kernels_bench.benchmarks.random_values import normal
from kernels_bench.devices.find import free_bytes
from kernels_bench.results import Device, Figure, Samples, Skipped
from kernels_bench.timing.budget import UNLIMITED
from kernels_bench.timing.measure import Clock, Effort, OutOfTimeError, Work, measure

FREE_SHARE = 0.8  # of the memory that is free: the rest is for libraries and for others
CPU_FREE_SHARE = 0.25  # a processor's memory belongs to the whole machine

Findings = Iterator[Figure | Skipped]


@dataclass(frozen=True)
class Bench:
    device: Device
    clock: Clock
    effort: Effort
    quick: bool
    say: Callable[[str], None]  # what is being measured now
    cpus: tuple[int, ...] = ()  # the cores next to the card; empty where nobody says
    until_ns: float = UNLIMITED  # when this test has to end, by its clock

    @property
    def place(self) -> Any:
        return torch.device(self.device.target)

    @property
    def left_s(self) -> float:
        return (self.until_ns - self.clock.now_ns()) / 1e9

    def require_time(self, name: str, needed_s: float = 0.0) -> None:
        """Raise OutOfTimeError if the figure `name`, which takes about `needed_s`, can no longer be begun."""
        if self.left_s <= needed_s:
            raise OutOfTimeError(name)

    def measure(self, name: str, work: Work) -> Samples:
        self.require_time(name)
        self.say(name)
        try:
            return measure(work, self.clock, self.effort, self.until_ns)
        except OutOfTimeError:
            raise OutOfTimeError(name) from None

    def usable_bytes(self) -> int:
        return int(free_bytes(self.device) * (FREE_SHARE if self.device.is_cuda else CPU_FREE_SHARE))

    def random(self, *shape: int, dtype: Any = None) -> Any:
        return normal(shape, dtype or torch.float32, self.place)

    def capability(self) -> tuple[int, int]:
        major, _, minor = (self.device.capability or "0.0").partition(".")
        return int(major), int(minor)
