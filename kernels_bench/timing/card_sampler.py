"""Looks at the card from a thread of its own while a test runs on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from kernels_bench.results import Reading

EVERY_S = 0.1


class Watch:
    """`with Watch(read) as watch: …`, then `watch.readings`. Without a reader it sees nothing."""

    def __init__(self, read: Callable[[], Reading] | None, every_s: float = EVERY_S) -> None:
        self.readings: list[Reading] = []
        self._read = read
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="kernels_bench watch", daemon=True)

    def __enter__(self) -> Watch:
        if self._read:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._read:
            self._thread.join()

    def _look(self) -> None:
        while self._read and not self._over.wait(self._every_s):
            self.readings.append(self._read())
