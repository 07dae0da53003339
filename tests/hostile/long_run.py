"""As many steps as an hour of a fast engine has: the process's memory is flat once it is warm."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile.subject import Driver, ended, forked

SAMPLES, WARM = 20, 5  # of the resident memory; those before are the warm-up
LONGEST_SECONDS = 3 * 3600.0


@dataclass
class Length:
    """A long recording: resident bytes at equal distances, and what it came to."""

    steps: int
    resident: list[int] = field(default_factory=list)
    status: str = ""

    @property
    def growth_bytes(self) -> int:
        """Of the highest sample after the warm-up over the last one of it."""
        return max(self.resident[WARM:]) - self.resident[WARM - 1]

    def lines(self) -> list[str]:
        warm, growth = self.resident[WARM - 1] / 2**20, self.growth_bytes / 2**20
        return [
            f"A recording of {self.steps:,} steps is {self.status}; resident memory was {warm:.1f} MiB after a quarter",
            f"of them, and at most {growth:+.1f} MiB from there later.",
        ]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def work(engine: Any, steps: int, place: Path) -> None:
    from engine_probe import Probe

    driver, resident = Driver(engine, keep_answers=False), []  # the harness's own memory is none of the probe's
    with Probe(engine, place / "run") as probe:
        for _ in range(SAMPLES):
            for _ in range(steps // SAMPLES):
                driver.step()
            resident.append(resident_bytes())
    (place / "told").write_text(json.dumps({"resident": resident, "status": probe.run.status}))


def run_long(engine: Any, steps: int, place: Path) -> Length:
    place.mkdir(parents=True)
    code = ended(forked(lambda: work(engine, steps, place), place / "log"), LONGEST_SECONDS)
    if code != 0:
        raise RuntimeError(f"exit {code}: {(place / 'log').read_text()[-2000:]}")
    return Length(steps, **json.loads((place / "told").read_text()))
