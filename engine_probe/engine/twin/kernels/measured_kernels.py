"""What `kernels_bench` measured of one device, as step times need it: each figure with its spread and its doubts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine_probe.errors import InputError
from kernels_bench.errors import InputError as UnreadableReport
from kernels_bench.judge.fleet import FleetReport
from kernels_bench.output.json_file import read_any
from kernels_bench.results import FAIL, INVALID, Device, Figure, Report, Result

QUARTILES = 1.349  # standard deviations between the quartiles of a normal distribution


@dataclass(frozen=True)
class Measured:
    """One figure: a rate per second, or nanoseconds."""

    name: str
    value: float
    spread: float  # standard deviation of single samples as a share of the value
    rounds: int
    doubts: tuple[str, ...]

    @property
    def words(self) -> str:
        doubts = f" ({'; '.join(self.doubts)})" if self.doubts else ""
        return f"{self.name} {self.value:.4g}{doubts}"


@dataclass(frozen=True)
class Kernels:
    """The figures of a report that hold for one device."""

    device: Device
    report: Report

    @classmethod
    def of(cls, report: Report, name: str) -> Kernels:
        """Take the device of a report; refuse one of several kinds, which say different things."""
        kinds = sorted({part.device.name for part in report.devices})
        if len(kinds) != 1:
            raise InputError(
                f"{name} has {len(kinds)} kinds of devices ({', '.join(kinds)}): give a report of one kind"
            )
        return cls(report.devices[0].device, report)

    def results(self, test: str) -> list[Result]:
        """Return what a test measured of this device, or between devices; what is invalid says nothing."""
        found = [each for each in self.report.results if each.test == test and each.figure]
        mine = [
            each for each in found if each.device == self.device.target or "→" in each.device or test == "allreduce"
        ]
        return [each for each in mine if each.verdict not in (FAIL, INVALID)]

    def figure(self, test: str, *names: str) -> Measured | None:
        """Return the highest of these figures. None if none was measured."""
        found = [_measured(each) for each in self.results(test) if each.name in names]
        return max(found, key=lambda each: each.value, default=None)

    def rows(self, test: str, begins: str = "") -> list[tuple[Figure, Measured]]:
        """Return the figures of a test whose names begin so."""
        found = [each for each in self.results(test) if each.name.startswith(begins)]
        return [(each.figure, _measured(each)) for each in found if each.figure]


def read_kernels(path: Path, name: str) -> Kernels:
    """Read the report of one machine; `name` begins the sentence on what cannot be used."""
    try:
        report = read_any(path, f"{name.removesuffix(str(path))}")
    except UnreadableReport as error:
        raise InputError(str(error)) from error
    if isinstance(report, FleetReport):
        raise InputError(f"{name} is of a fleet: give the report of one machine")
    return Kernels.of(report, name)


def _measured(result: Result) -> Measured:
    figure = result.figure
    assert figure is not None
    spread = figure.samples.spread / QUARTILES
    return Measured(f"{figure.test} {figure.name}", figure.value, spread, len(figure.samples.rounds_ns), result.doubts)
