"""The energy of the host's CPU packages and memory, by the kernel's RAPL counters (Intel and AMD).

Fans, disks, network and the losses of power supplies are not in it. Since 2020 kernels let only root read it.
"""

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass
class Zone:
    """A counter of µJ that begins anew after its range."""

    file: Path
    range_uj: int
    last_uj: int
    passed_uj: int = 0

    def read(self) -> int:
        """Return the energy since the zone was opened."""
        now_uj = read_number(self.file)
        self.passed_uj += (now_uj - self.last_uj) % (self.range_uj + 1)
        self.last_uj = now_uj
        return self.passed_uj


class HostEnergy:
    """Sums the packages and their memory; without any that can be read, there is no energy."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self.notes: list[str] = []
        self._zones: list[Zone] = []
        try:
            for folder in sorted(filter(counts, powercap.glob("intel-rapl:*"))):
                file = folder / "energy_uj"
                self._zones.append(Zone(file, read_number(folder / "max_energy_range_uj"), read_number(file)))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self.notes.append(f"host: the energy of the CPUs cannot be read ({reason})")
            self._zones = []

    def read_mj(self) -> int | None:
        """Return the mJ since this was opened. None if a zone can no longer be read, or there is none."""
        try:
            return sum(zone.read() for zone in self._zones) // 1000 if self._zones else None
        except (OSError, ValueError):
            self._zones = []
            return None


def counts(folder: Path) -> bool:
    """Return whether a zone is a package or its memory; cores are in the package, and psys is the whole machine."""
    name = (folder / "name").read_text().strip()
    return name.startswith("package") or name == "dram"


def read_number(file: Path) -> int:
    return int(file.read_text())
