"""A thread that samples the GPU while a test runs on it."""

import threading
from collections.abc import Callable
from typing import Self

from kernels_bench.results import Reading

EVERY_S = 0.1


class GpuSampler:
    """Calls `read` every 0.1 s in a `with` block and keeps the `readings`; does nothing if `read` is None."""

    def __init__(self, read: Callable[[], Reading] | None, every_s: float = EVERY_S) -> None:
        self.readings: list[Reading] = []
        self._read = read
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="kernels_bench sampler", daemon=True)

    def __enter__(self) -> Self:
        if self._read:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._read:
            self._thread.join()

    def _sample(self) -> None:
        while self._read and not self._stop.wait(self._every_s):
            self.readings.append(self._read())
