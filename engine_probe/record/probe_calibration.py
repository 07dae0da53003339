"""What the probe costs beside what its own clock counts, kept for each machine in the cache folder.

`engine_probe overhead` measures and stores it; each recording on that machine carries it in `run.json`, so that a
report can say what the probe cost in all.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine_probe.errors import EngineProbeError
from engine_probe.files.cache_folder import cache_folder
from engine_probe.files.new_file import atomic_write, writing
from engine_probe.files.safe_read import read_json_as


class Uncounted(msgspec.Struct, frozen=True):
    """The cost per step that the probe's clock does not count, with half its 95 % interval."""

    running: int  # requests
    ns: float
    half_width_ns: float


class Calibration(msgspec.Struct, frozen=True):
    uncounted: tuple[Uncounted, ...] = ()
    collective_ns: float | None = None  # of timing one collective; None before it was measured


def calibration_file(machine: str) -> Path:
    return cache_folder() / "probe_cost" / f"{machine}.json"


def store(machine: str, uncounted: Sequence[Uncounted], collective_ns: float | None = None) -> Path:
    """Write the calibration of this machine in place of an earlier one; return the file."""
    path = calibration_file(machine)
    with writing(path, "choose another folder with ENGINE_PROBE_CACHE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, msgspec.json.encode(Calibration(tuple(uncounted), collective_ns)) + b"\n")
    return path


def read(machine: str) -> Calibration:
    """Return the calibration of this machine; empty if there is none that can be read."""
    try:
        return read_json_as(calibration_file(machine), Calibration)
    except (EngineProbeError, OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return Calibration()
