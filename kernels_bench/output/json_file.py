"""The report as a file, written once and read back strictly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from kernels_bench.errors import InputError, UnavailableError
from kernels_bench.judge.fleet import FleetReport
from kernels_bench.output.regular_file import read_regular
from kernels_bench.results import FAIL, INVALID, Figure, Report, Struct
from page_kit.plain_text import plain


def check_writable(path: Path, option: str = "--json") -> None:
    if path == Path("-"):
        raise InputError(f"{option} -: the report is shown on standard output already: name a new file")
    if path.exists():
        raise InputError(f"{option} {path} exists and is never overwritten: name another file")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{option} {path}: the folder {path.parent} cannot be written to; name another file")


def write_report(report: Struct, path: Path) -> None:
    write_new(path, msgspec.json.encode(report) + b"\n")


def write_new(path: Path, content: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror or error}; name another file") from error


def read_report(path: Path) -> Report:
    found = read_any(path, "--baseline ")
    if isinstance(found, FleetReport):
        raise InputError(f"--baseline {path} is of a fleet: name the report of one known-good machine")
    return found


def read_any(path: Path, option: str = "") -> Report | FleetReport:
    """Of one machine or of a fleet, which the first field tells."""
    try:
        content = read_regular(path)
        fleet = content.startswith(b'{"schema":"kernels_bench.fleet/')
        found = msgspec.json.decode(content, type=FleetReport) if fleet else msgspec.json.decode(content, type=Report)
        for report in reports_of(found):
            check_details(report)
        return found
    except OSError as error:
        raise InputError(f"{option}{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # of msgspec and of UTF-8 among them
        raise InputError(
            f"{option}{path} is not a report of kernels_bench: {plain(str(error))}; make one with --json"
        ) from error


def reports_of(found: Report | FleetReport) -> list[Report]:
    if isinstance(found, Report):
        return [found]
    return [node.report for node in found.nodes if node.report]


def check_details(report: Report) -> None:
    """Raise `ValueError` where a figure lacks a size or a shape that tables and pages need of it."""
    for result in report.results:
        figure = result.figure
        if figure is None:
            continue
        name = f"{figure.test} {figure.name}"
        if (figure.test, figure.name) == ("memory", "copy"):
            check_counts(name, {"buffer_bytes": 0, **figure.detail}, ("buffer_bytes",))
        if figure.test == "gemm" and figure.name.startswith("bf16 decode"):
            check_counts(name, figure.detail, ("m",))
        for trial in figure.trials:
            check_counts(name, trial.at, ("m", "n", "k") if figure.test == "gemm" else ("bytes",))


def check_counts(name: str, told: Mapping[str, object], keys: tuple[str, ...]) -> None:
    for key in keys:
        value = told.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} has {value!r} for {key}, expected a whole number")


class Baseline:
    """The figures of a saved run, by the card they came from."""

    def __init__(self, report: Report, path: Path) -> None:
        self._path = path
        self._names = {part.device.target: part.device.name for part in report.devices}
        self._results = [result for result in report.results if result.verdict not in (FAIL, INVALID)]

    def check_covers(self, card: str) -> None:
        if card not in self._names.values():
            known = ", ".join(sorted(set(self._names.values()))) or "no device"
            raise InputError(f"--baseline {self._path} is of {known}, and this is {card}: use one of its kind")

    def figure(self, device: str, card: str | None, test: str, name: str) -> Figure | None:
        """Of a card of that name, best at the same place in its box; of a pair, at the same two places."""
        found = [
            result
            for result in self._results
            if result.figure
            and (result.test, result.name) == (test, name)
            and (result.device == device if card is None else self._names.get(result.device) == card)
        ]
        found.sort(key=lambda result: result.device != device)
        return found[0].figure if found else None
