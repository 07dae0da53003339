"""Ceilings: the rates that a device was measured to reach, stored for later runs on the same device.

Each run writes one file under the user's cache folder, `ceilings/<identity>/<time>.json`, numbered if two runs began in
the same second. Nothing is overwritten. A reader uses the newest trusted value of each name, even if a doubtful one was
measured later. Without a trusted value it uses the highest, with its doubts, because other programs make a device
slower, never faster.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from errno import EEXIST
from pathlib import Path
from typing import Literal

import msgspec

from kernels_bench.errors import UnavailableError
from kernels_bench.judge.doubts import UNKNOWN_LOAD, UNSTABLE, unknown_load
from kernels_bench.output.quantities import quantity
from kernels_bench.output.regular_file import read_regular
from kernels_bench.results import FAIL, INVALID, Amount, DeviceReport, Report, Result, Struct, Unit

FILES_PER_SECOND = 1000
TESTS = ("memory", "gemm", "pcie", "attention", "launch", "sustained")


Trust = Literal["trusted", "not known", "doubtful"]


class Ceiling(Struct, frozen=True):
    """Holds one figure and how far it can be trusted; files of older versions have no field after `detail`."""

    value: Amount
    unit: Unit
    stable: bool
    quick: bool
    measured: str  # UTC
    detail: dict[str, str | int | float]
    samples: int | None = None
    spread: float | None = None  # interquartile range of the samples as a share of their median
    others_share: float | None = None  # share of the cores that other programs used; None: not known
    verdict: Trust | None = None
    doubts: tuple[str, ...] = ()


class Ceilings(Struct, frozen=True):
    schema: Literal["kernels_bench.ceilings/1"]
    identity: str
    device: str
    versions: dict[str, str]
    ceilings: dict[str, Ceiling]  # "memory copy", "gemm bf16 best shape"


def ceilings_folder() -> Path:
    """Return the folder in engine_probe's cache: `$ENGINE_PROBE_CACHE`, else `engine_probe` in the user's cache."""
    if chosen := os.environ.get("ENGINE_PROBE_CACHE"):
        return Path(chosen).expanduser().absolute() / "ceilings"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "engine_probe" / "ceilings"


def ceilings_of(report: Report) -> list[Ceilings]:
    """Return the ceilings of each device: all its figures that are neither wrong nor invalid."""
    of_devices = []
    for part in report.devices:
        ceilings = {
            f"{result.test} {result.name}": _ceiling(result, part, report)
            for result in report.of(part.device.target)
            if result.figure and result.test in TESTS and result.verdict not in (FAIL, INVALID)
        }
        if ceilings:
            identity, name = part.device.identity, part.device.name
            of_devices.append(Ceilings("kernels_bench.ceilings/1", identity, name, report.versions, ceilings))
    return of_devices


def store(report: Report) -> list[Path]:
    """Write the ceilings of each device into a new file; return the files."""
    paths = []
    for ceilings in ceilings_of(report):
        stamp = report.started.replace(":", "").replace("-", "")
        folder = ceilings_folder() / ceilings.identity
        try:
            folder.mkdir(parents=True, exist_ok=True)
            paths.append(_new_file(folder, stamp, msgspec.json.format(msgspec.json.encode(ceilings)) + b"\n"))
        except OSError as error:
            raise UnavailableError(
                f"cannot store the ceilings in {folder}: {error.strerror or error}; "
                "choose another folder with ENGINE_PROBE_CACHE"
            ) from error
    return paths


def _new_file(folder: Path, stamp: str, content: bytes) -> Path:
    """Write a file under a new name; names sort in the order of the runs."""
    for number in range(1, FILES_PER_SECOND):
        path = folder / (f"{stamp}.json" if number == 1 else f"{stamp}_{number:03d}.json")
        with suppress(FileExistsError), path.open("xb") as file:
            file.write(content)
            return path
    raise FileExistsError(EEXIST, f"there are {FILES_PER_SECOND - 1} files of {stamp} already")


def read_ceilings(identity: str) -> dict[str, Ceiling]:
    """Return the ceiling to use for each name; ignore files that are damaged or of another schema."""
    used: dict[str, Ceiling] = {}
    try:
        paths = sorted((ceilings_folder() / identity).glob("*.json"))
    except (OSError, RuntimeError):  # the home folder cannot be read, or the user has none
        return {}
    for path in paths:
        try:
            stored = msgspec.json.decode(read_regular(path), type=Ceilings).ceilings
        except (OSError, ValueError, RecursionError):
            continue
        for name, ceiling in stored.items():
            if name not in used or replaces(judged(ceiling), used[name]):
                used[name] = judged(ceiling)
    return used


def judged(ceiling: Ceiling) -> Ceiling:
    """Give a ceiling from an older file the verdict that follows from its fields."""
    if ceiling.verdict is not None:
        return ceiling
    verdict: Trust = "not known" if ceiling.stable else "doubtful"
    clauses = (UNKNOWN_LOAD,) if ceiling.stable else (UNSTABLE, UNKNOWN_LOAD)
    return msgspec.structs.replace(ceiling, verdict=verdict, doubts=clauses)


def replaces(later: Ceiling, earlier: Ceiling) -> bool:
    """Return whether a later measurement is used instead of an earlier one; both have a verdict."""
    if later.verdict != earlier.verdict:
        return RANKS[later.verdict] > RANKS[earlier.verdict]
    if later.verdict != "doubtful":
        return True
    return later.value <= earlier.value if later.unit == "ns" else later.value >= earlier.value


RANKS: dict[Trust | None, int] = {"doubtful": 0, "not known": 1, "trusted": 2}


def not_used(report: Report) -> Iterator[str]:
    """Name each stored ceiling of a report that is not used because an earlier one is trusted more, or is higher."""
    for stored in ceilings_of(report):
        in_use = read_ceilings(stored.identity)
        for name, ceiling in stored.ceilings.items():
            if (other := in_use.get(name)) and other.measured != ceiling.measured:
                reason = "trusted" if other.verdict == "trusted" else f"{other.verdict}, but better"
                yield (
                    f"{name}: {quantity(ceiling.value, ceiling.unit)} is {ceiling.verdict} "
                    f"({'; '.join(ceiling.doubts)}); "
                    f"the {quantity(other.value, other.unit)} of {other.measured[:10]} stays in use ({reason})"
                )


def _ceiling(result: Result, part: DeviceReport, report: Report) -> Ceiling:
    figure = result.figure
    assert figure is not None
    unknown = unknown_load(figure, part.device.is_cuda, result.others_share, part.health_before.processes is not None)
    device_doubts = tuple(finding.text for finding in part.findings if finding.verdict == INVALID)
    verdict: Trust = "doubtful" if result.doubts or device_doubts else "not known" if unknown else "trusted"
    return Ceiling(
        value=figure.value,
        unit=figure.unit,
        stable=figure.samples.stable,
        quick=report.quick,
        measured=report.started,
        detail=figure.detail,
        samples=figure.samples.count,
        spread=figure.samples.spread,
        others_share=result.others_share,
        verdict=verdict,
        doubts=(*result.doubts, *device_doubts, *unknown),
    )
