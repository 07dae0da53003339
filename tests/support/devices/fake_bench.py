"""A device that exists only as numbers: its clock says what the test wants it to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kernels_bench.results import Check, Device, Figure, Samples, Unit
from kernels_bench.timing.measure import Call

L40S = Device("cuda:0", "NVIDIA L40S", "GPU-1", 48 << 30, 96 << 20, 142, "8.9")


class FakeClock:
    """Each sample takes what `cost_ns` says for its number; a flush takes time too, and none of it counts."""

    short_ns = 100.0
    flush_ns = 50.0
    pauses = False

    def __init__(
        self,
        cost_ns: Callable[[int], float],
        cache_bytes: int = 1000,
        frequency: Callable[[int], int | None] = lambda sample: None,
    ) -> None:
        self.cache_bytes = cache_bytes
        self.samples = self.flushes = 0
        self.bundles: list[int] = []
        self._sizes: dict[Call, int] = {}
        self._cost_ns = cost_ns
        self._frequency = frequency
        self._now_ns = 0.0

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        times = []
        for index in range(count):
            call = calls[index % len(calls)]
            call()
            cost = self._cost_ns(self.samples) * self._sizes.get(call, 1)
            self.samples += 1
            self.flushes += flush
            self._now_ns += cost + (self.flush_ns if flush else 0)
            times.append(cost)
        return times

    def bundle(self, calls: Sequence[Call], count: int) -> Call:
        self.bundles.append(count)

        def together() -> None:
            for index in range(count):
                calls[index % len(calls)]()

        self._sizes[together] = count
        return together

    def frequency_mhz(self) -> int | None:
        return self._frequency(self.samples)

    def now_ns(self) -> int:
        return int(self._now_ns)


def samples(median_ns: float = 1e6, stable: bool = True) -> Samples:
    times = (median_ns,) * 3
    return Samples((times,) * 3, 1, 3, True, stable, median_ns, 0.0)


def figure(
    value: float,
    test: str = "memory",
    name: str = "copy",
    unit: Unit = "B/s",
    stable: bool = True,
    check: Check | None = None,
    detail: dict[str, str | int | float] | None = None,
) -> Figure:
    return Figure(test, name, unit, value, int(value / 1000), samples(stable=stable), check, detail or {})


class NVMLError(Exception):
    pass


def small_nvml(**answers: Any) -> Any:
    """A driver that answers what the test names, with constants of NVML's names, and refuses the rest."""

    class Module:
        def __getattr__(self, name: str) -> Any:
            if name.startswith(("NVML_", "nvmlEventType")):
                return 3
            if name not in answers:
                raise AttributeError(name)
            answer = answers[name]
            return answer if callable(answer) else lambda *arguments: answer

    module: Any = Module()
    module.NVMLError = NVMLError
    return module


def by_uuid(uuid: str) -> str:
    return f"handle of {uuid}"
