"""What every test gets: a device, its clock, the effort to make and the time by which to end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from kernels_bench.benchmarks.number_formats import normal
from kernels_bench.devices.find import free_bytes
from kernels_bench.results import Device, Figure, Samples, Skipped
from kernels_bench.timing.budget import UNLIMITED
from kernels_bench.timing.measure import Clock, Effort, OutOfTimeError, Work, measure

FREE_SHARE = 0.8  # of a GPU's free memory; the rest is for libraries and other programs
CPU_FREE_SHARE = 0.25  # of the free memory of the host, which all programs use

Findings = Iterator[Figure | Skipped]


@dataclass(frozen=True)
class Bench:
    device: Device
    clock: Clock
    effort: Effort
    quick: bool
    say: Callable[[str], None]  # shows what is being measured
    cpus: tuple[int, ...] = ()  # the cores next to the GPU; empty if not known
    until_ns: float = UNLIMITED  # when this test must end, by its clock

    @property
    def torch_device(self) -> Any:
        return torch.device(self.device.target)

    @property
    def left_s(self) -> float:
        return (self.until_ns - self.clock.now_ns()) / 1e9

    def require_time(self, name: str, needed_s: float = 0.0) -> None:
        """Raise OutOfTimeError if there is no time left for the figure `name`, which takes about `needed_s`."""
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
        return normal(shape, dtype or torch.float32, self.torch_device)

    def capability(self) -> tuple[int, int]:
        major, _, minor = (self.device.capability or "0.0").partition(".")
        return int(major), int(minor)
