"""What a device was measured to reach at best, kept for later runs on the same device.

One file per run under the user's cache folder, `ceilings/<identity>/<time>.json`, with a number behind the time where
two runs began in one second; nothing is overwritten, and a reader takes the newest stable value of each name.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EEXIST
from pathlib import Path
from typing import Literal

import msgspec

from kernels_bench.errors import UnavailableError
from kernels_bench.results import FAIL, INVALID, Report, Result, Struct

MOST_A_SECOND = 1000
TESTS = ("memory", "gemm", "pcie", "attention", "launch", "sustained")


class Ceiling(Struct, frozen=True):
    value: float
    unit: str
    stable: bool
    quick: bool
    measured: str  # UTC
    detail: dict[str, str | int | float]


class Ceilings(Struct, frozen=True):
    schema: Literal["kernels_bench.ceilings/1"]
    identity: str
    device: str
    versions: dict[str, str]
    ceilings: dict[str, Ceiling]  # "memory copy", "gemm bf16 best shape"


def ceilings_folder() -> Path:
    """As engine_probe finds its cache: `$ENGINE_PROBE_CACHE`, else `engine_probe` in the user's cache folder."""
    if chosen := os.environ.get("ENGINE_PROBE_CACHE"):
        return Path(chosen).expanduser().absolute() / "ceilings"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "engine_probe" / "ceilings"


def ceilings_of(report: Report) -> list[Ceilings]:
    """Of each device what is right and its own; a wrong or invalid figure is nobody's ceiling."""
    found = []
    for part in report.devices:
        kept = {
            f"{result.test} {result.name}": _ceiling(result, report)
            for result in report.results
            if result.device == part.device.target
            and result.figure
            and result.test in TESTS
            and result.verdict not in (FAIL, INVALID)
        }
        if kept:
            device = part.device
            found.append(Ceilings("kernels_bench.ceilings/1", device.identity, device.name, report.versions, kept))
    return found


def store(report: Report) -> list[Path]:
    paths = []
    for ceilings in ceilings_of(report):
        stamp = report.started.replace(":", "").replace("-", "")
        folder = ceilings_folder() / ceilings.identity
        try:
            folder.mkdir(parents=True, exist_ok=True)
            paths.append(_new_file(folder, stamp, msgspec.json.format(msgspec.json.encode(ceilings)) + b"\n"))
        except OSError as error:
            raise UnavailableError(
                f"cannot keep the ceilings in {folder}: {error.strerror or error}; "
                "choose another place with ENGINE_PROBE_CACHE"
            ) from error
    return paths


def _new_file(folder: Path, stamp: str, content: bytes) -> Path:
    """Under a name that nobody had; names sort as the runs came."""
    for number in range(1, MOST_A_SECOND):
        path = folder / (f"{stamp}.json" if number == 1 else f"{stamp}_{number:03d}.json")
        with suppress(FileExistsError), path.open("xb") as file:
            file.write(content)
            return path
    raise FileExistsError(EEXIST, f"there are {MOST_A_SECOND - 1} files of {stamp} already")


def read_ceilings(identity: str) -> dict[str, Ceiling]:
    """The newest stable value of each name, else the newest. A file of another schema, or a broken one, holds none."""
    known: dict[str, Ceiling] = {}
    for path in sorted((ceilings_folder() / identity).glob("*.json")):
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Ceilings).ceilings
        except msgspec.DecodeError:
            continue
        known |= {name: ceiling for name, ceiling in found.items() if ceiling.stable or not _stable(known.get(name))}
    return known


def _stable(ceiling: Ceiling | None) -> bool:
    return ceiling is not None and ceiling.stable


def _ceiling(result: Result, report: Report) -> Ceiling:
    figure = result.figure
    assert figure is not None
    return Ceiling(figure.value, figure.unit, figure.samples.stable, report.quick, report.started, figure.detail)
