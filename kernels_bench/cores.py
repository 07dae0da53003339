"""The processor's cores while a run goes on: which this thread is on, and what others do with them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STAT = Path("/proc/stat")


@contextmanager
def on_cpus(cpus: tuple[int, ...]) -> Iterator[None]:
    """This thread on those of the cores that it may have at all, so that host memory it takes is near them too."""
    before = os.sched_getaffinity(0) if cpus and hasattr(os, "sched_setaffinity") else set()
    wanted = before & set(cpus)
    if wanted:
        os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        if wanted:
            os.sched_setaffinity(0, before)


class CpuShare:
    """How many cores others kept busy since the start. Counted by the kernel in /proc/stat, in ticks."""

    def __init__(self, stat: Path = STAT) -> None:
        self._stat = stat
        self._start = self._now()

    def others(self) -> float | None:
        end = self._now()
        if self._start is None or end is None or end[2] <= self._start[2]:
            return None
        busy, own, wall = (late - early for early, late in zip(self._start, end, strict=True))
        return max(0.0, (busy - own) / wall)

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds: of all processes, of this one, of the wall."""
        if not self._stat.exists():
            return None
        user, nice, system, _, _, irq, softirq, steal = map(int, self._stat.read_text().split()[1:9])
        own = os.times()
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy, own.user + own.system, time.monotonic()
