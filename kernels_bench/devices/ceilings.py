"""What a device was measured to reach at best, kept for later runs on the same device.

One file per run under the user's cache folder, `ceilings/<identity>/<time>.json`, with a number behind the time where
two runs began in one second. Nothing is overwritten. A reader takes the newest trusted value of each name; a doubtful
one, measured later, is kept beside it and not used. Without a trusted one the highest is used, with its doubts: other
programs make a device slower, never faster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from errno import EEXIST
from pathlib import Path
from typing import Literal

import msgspec

from kernels_bench.errors import UnavailableError
from kernels_bench.judge.doubts import UNKNOWN_LOAD, UNSTABLE, unknown_load
from kernels_bench.output.regular_file import read_regular
from kernels_bench.output.words import quantity
from kernels_bench.results import FAIL, INVALID, Amount, DeviceReport, Report, Result, Struct, Unit

MOST_A_SECOND = 1000
TESTS = ("memory", "gemm", "pcie", "attention", "launch", "sustained")


Trust = Literal["trusted", "not known", "doubtful"]


class Ceiling(Struct, frozen=True):
    """One figure and how far it can be trusted. Files of older versions have nothing after `detail`."""

    value: Amount
    unit: Unit
    stable: bool
    quick: bool
    measured: str  # UTC
    detail: dict[str, str | int | float]
    samples: int | None = None
    spread: float | None = None  # the distance between the quartiles of the samples as a share of their median
    others_share: float | None = None  # of the cores, used by other programs meanwhile; None: not known
    verdict: Trust | None = None
    doubts: tuple[str, ...] = ()


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
            f"{result.test} {result.name}": _ceiling(result, part, report)
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
    """Return the ceiling of each name that is to be used. A file that is broken, or of another schema, holds none."""
    known: dict[str, Ceiling] = {}
    try:
        paths = sorted((ceilings_folder() / identity).glob("*.json"))
    except (OSError, RuntimeError):  # a home that may not be read, or that nobody has
        return {}
    for path in paths:
        try:
            found = msgspec.json.decode(read_regular(path), type=Ceilings).ceilings
        except (OSError, ValueError, RecursionError):
            continue
        for name, ceiling in found.items():
            if name not in known or replaces(judged(ceiling), known[name]):
                known[name] = judged(ceiling)
    return known


def judged(ceiling: Ceiling) -> Ceiling:
    """Give a ceiling of an older file the verdict that its fields allow."""
    if ceiling.verdict is not None:
        return ceiling
    verdict: Trust = "not known" if ceiling.stable else "doubtful"
    clauses = (UNKNOWN_LOAD,) if ceiling.stable else (UNSTABLE, UNKNOWN_LOAD)
    return msgspec.structs.replace(ceiling, verdict=verdict, doubts=clauses)


def replaces(later: Ceiling, earlier: Ceiling) -> bool:
    """Whether a later measurement is used in place of an earlier one; both have a verdict."""
    if later.verdict != earlier.verdict:
        return RANKS[later.verdict] > RANKS[earlier.verdict]
    if later.verdict != "doubtful":
        return True
    return later.value <= earlier.value if later.unit == "ns" else later.value >= earlier.value


RANKS: dict[Trust | None, int] = {"doubtful": 0, "not known": 1, "trusted": 2}


def kept_beside(report: Report) -> Iterator[str]:
    """Name each figure of a stored report that is not used because an earlier one is trusted more, or is higher."""
    for stored in ceilings_of(report):
        used = read_ceilings(stored.identity)
        for name, ceiling in stored.ceilings.items():
            if (other := used.get(name)) and other.measured != ceiling.measured:
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
    unnamed = tuple(finding.text for finding in part.findings if finding.verdict == INVALID)  # of the whole device
    clauses = (*result.doubts, *unnamed, *unknown)
    verdict: Trust = "doubtful" if result.doubts or unnamed else "not known" if unknown else "trusted"
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
        doubts=clauses,
    )
