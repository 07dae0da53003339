"""CPU and memory of this process and of the whole machine, from the kernel's files."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from engine_probe.telemetry.host_energy import POWERCAP, HostEnergy

PROC = Path("/proc")
IDLE_FIELDS = (3, 4)  # idle and iowait in the first line of /proc/stat


class HostReader:
    """Reads the host's row of a sample from files that it keeps open; CPU use is that since the sample before.

    Figures of the whole machine are read once a second, because the kernel walks over all cores for them.
    """

    def __init__(
        self, proc: Path = PROC, cpu_clock: Callable[[], int] = time.process_time_ns, powercap: Path = POWERCAP
    ) -> None:
        self._cpu_clock = cpu_clock
        self._page_bytes, self._ticks_per_s = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
        self.notes: list[str] = []
        self._files = {name: self._open(proc / name) for name in ("self/statm", "stat", "meminfo")}
        self._energy = HostEnergy(powercap)
        self.notes += self._energy.notes
        self._process: tuple[int, int] | None = None  # when, CPU ns
        self._machine: tuple[int, int] | None = None  # when, busy ticks

    def _open(self, path: Path) -> int | None:
        try:
            return os.open(path, os.O_RDONLY)
        except OSError as error:
            self.notes.append(f"host: {path} cannot be read ({error.strerror})")
            return None

    def close(self) -> None:
        for file in self._files.values():
            if file is not None:
                os.close(file)
        self._files = dict.fromkeys(self._files)

    def read(self, now_ns: int, slow: bool) -> dict[str, int | float | None]:
        row: dict[str, int | float | None] = {
            "cpu_percent": self._process_percent(now_ns),
            "process_memory_bytes": self._resident_bytes(),
        }
        if slow:
            row["machine_cpu_percent"] = self._machine_percent(now_ns)
            row["memory_used_bytes"] = self._machine_memory()
            row["energy_mj"] = self._energy.read_mj()
        return row

    def _process_percent(self, now_ns: int) -> float | None:
        spent_ns, before = self._cpu_clock(), self._process
        self._process = now_ns, spent_ns
        if before is None or now_ns <= before[0]:
            return None
        return 100 * (spent_ns - before[1]) / (now_ns - before[0])

    def _machine_percent(self, now_ns: int) -> float | None:
        """Return 100 for each busy core, summed. The first eight fields already contain the time of guests."""
        file = self._files["stat"]
        if file is None:
            return None
        fields = [int(field) for field in os.pread(file, 256, 0).split(b"\n", 1)[0].split()[1:9]]
        busy = sum(ticks for number, ticks in enumerate(fields) if number not in IDLE_FIELDS)
        before, self._machine = self._machine, (now_ns, busy)
        if before is None or now_ns <= before[0]:
            return None
        return 100 * (busy - before[1]) / self._ticks_per_s * 1e9 / (now_ns - before[0])

    def _resident_bytes(self) -> int | None:
        file = self._files["self/statm"]
        return None if file is None else int(os.pread(file, 128, 0).split()[1]) * self._page_bytes

    def _machine_memory(self) -> int | None:
        file = self._files["meminfo"]
        if file is None:
            return None
        lines = os.pread(file, 512, 0).split(b"\n")
        kib = {line.split(b":")[0]: int(line.split()[1]) for line in lines if line.endswith(b" kB")}
        total, available = kib.get(b"MemTotal"), kib.get(b"MemAvailable")
        return None if total is None or available is None else (total - available) * 1024
