"""How much of the processor other programs used while something was measured, from the kernel's own counters."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

STAT = Path("/proc/stat")
FIELDS = 8  # user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user
IDLE = (3, 4)  # idle and iowait
# A kernel that counts gives each core's time to some field; one that shows zeros (some sandboxes) counts nothing.
COUNTED = 0.5


class OtherLoad:
    """The load since construction: all busy time, time stolen by other virtual machines included, minus our own.

    Of this process alone: a test whose work runs in other processes must not ask.
    """

    def __init__(
        self,
        stat: Path = STAT,
        own_s: Callable[[], float] = time.process_time,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stat, self._own_s, self._now_s = stat, own_s, now_s
        self._cores = affinity()
        self._start = self._read()

    def share(self) -> float | None:
        """Return others' share of the cores: of ours or of the machine's, whichever is larger. None if not counted."""
        (ticks, own, now), (ticks_before, own_before, before) = self._read(), self._start
        seconds = now - before
        grown = {core: [late - early for late, early in zip(ticks[core], ticks_before[core], strict=True)]
                 for core in ticks.keys() & ticks_before.keys()}  # fmt: skip
        per_second = os.sysconf("SC_CLK_TCK")
        if seconds <= 0 or sum(map(sum, grown.values())) < COUNTED * len(grown) * seconds * per_second or not grown:
            return None
        shares = []
        for cores in (grown.keys() & self._cores, grown.keys()):
            busy = sum(sum(grown[core]) - sum(grown[core][place] for place in IDLE) for core in cores) / per_second
            shares.append((busy - (own - own_before)) / (len(cores) * seconds) if cores else 0.0)
        return min(1.0, max(0.0, *shares))

    def _read(self) -> tuple[dict[int, list[int]], float, float]:
        """Ticks of each core by field, our own seconds, and the time."""
        text = self._stat.read_text() if self._stat.exists() else ""
        rows = (line.split() for line in text.splitlines() if line.startswith("cpu"))
        ticks = {int(row[0][3:]): list(map(int, row[1 : 1 + FIELDS])) for row in rows if row[0] != "cpu"}
        return ticks, self._own_s(), self._now_s()


def affinity() -> set[int]:
    """Return the numbers of the cores that this process may use; empty where the system does not say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
