"""The share of the CPU that other programs used during a measurement, from the kernel's counters."""

import os
import time
from collections.abc import Callable
from pathlib import Path

STAT = Path("/proc/stat")
FIELDS = 8  # user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user
IDLE = (3, 4)  # idle and iowait
# Share of a core's time that must appear in some field; some sandboxes show zeros because they do not count.
COUNTED = 0.5


class OtherLoad:
    """Measures the load by other programs since its construction: all busy and stolen time minus that of this process.

    It is wrong for a test whose work runs in other processes.
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
        """Return the share of our cores or of all cores, whichever is larger; None if the kernel does not count."""
        (ticks, own, now), (ticks_before, own_before, before) = self._read(), self._start
        seconds = now - before
        grown = {core: [late - early for late, early in zip(ticks[core], ticks_before[core], strict=True)]
                 for core in ticks.keys() & ticks_before.keys()}  # fmt: skip
        per_second = os.sysconf("SC_CLK_TCK")
        if seconds <= 0 or sum(map(sum, grown.values())) < COUNTED * len(grown) * seconds * per_second or not grown:
            return None
        shares = []
        for cores in (grown.keys() & self._cores, grown.keys()):
            busy = sum(sum(grown[core]) - sum(grown[core][field] for field in IDLE) for core in cores) / per_second
            shares.append((busy - (own - own_before)) / (len(cores) * seconds) if cores else 0.0)
        return min(1.0, max(0.0, *shares))

    def _read(self) -> tuple[dict[int, list[int]], float, float]:
        """Return the ticks of each core by field, the CPU seconds of this process, and the time."""
        text = self._stat.read_text() if self._stat.exists() else ""
        rows = (line.split() for line in text.splitlines() if line.startswith("cpu"))
        ticks = {int(row[0][3:]): list(map(int, row[1 : 1 + FIELDS])) for row in rows if row[0] != "cpu"}
        return ticks, self._own_s(), self._now_s()


def affinity() -> set[int]:
    """Return the numbers of the cores that this process may use; empty if the system does not report them."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
