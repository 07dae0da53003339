"""What every test is given: one device, its clock, and how hard to try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from kernels_bench.devices import free_bytes
from kernels_bench.results import Device, Figure, Samples, Skipped
from kernels_bench.timing import Clock, Effort, Work, measure

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

    @property
    def place(self) -> Any:
        return torch.device(self.device.target)

    def measure(self, name: str, work: Work) -> Samples:
        self.say(name)
        return measure(work, self.clock, self.effort)

    def usable_bytes(self) -> int:
        return int(free_bytes(self.device) * (FREE_SHARE if self.device.is_cuda else CPU_FREE_SHARE))

    def random(self, *shape: int, dtype: Any = None) -> Any:
        """Fresh normal numbers: a card draws less power on zeros and runs faster than it ever will at work."""
        return torch.randn(shape, device=self.place, dtype=dtype or torch.float32)

    def capability(self) -> tuple[int, int]:
        major, _, minor = (self.device.capability or "0.0").partition(".")
        return int(major), int(minor)
