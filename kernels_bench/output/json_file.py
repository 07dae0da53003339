"""The report as a JSON file, which is never overwritten and strictly checked when it is read."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from kernels_bench.errors import InputError, UnavailableError
from kernels_bench.judge.fleet import FleetReport, reports_of
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
    report = read_any(path, "--baseline ")
    if isinstance(report, FleetReport):
        raise InputError(f"--baseline {path} is of a fleet: name the report of one known-good machine")
    return report


def read_any(path: Path, option: str = "") -> Report | FleetReport:
    try:
        content = read_regular(path)
        is_fleet = content.startswith(b'{"schema":"kernels_bench.fleet/')
        report: Report | FleetReport
        report = (
            msgspec.json.decode(content, type=FleetReport) if is_fleet else msgspec.json.decode(content, type=Report)
        )
        for machine_report in reports_of(report):
            check_details(machine_report)
        return report
    except OSError as error:
        raise InputError(f"{option}{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # includes those of msgspec and of UTF-8
        raise InputError(
            f"{option}{path} is not a report of kernels_bench: {plain(str(error))}; make one with --json"
        ) from error


def check_details(report: Report) -> None:
    """Raise ValueError if a figure lacks a size or a shape that tables and pages show."""
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


def check_counts(name: str, detail: Mapping[str, object], keys: tuple[str, ...]) -> None:
    for key in keys:
        value = detail.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} has {value!r} for {key}, expected a whole number")


class Baseline:
    """Finds the figures of a saved run by the model of their device."""

    def __init__(self, report: Report, path: Path) -> None:
        self._path = path
        self._names = report.models
        self._results = [result for result in report.results if result.verdict not in (FAIL, INVALID)]

    def check_covers(self, model: str) -> None:
        """Refuse a baseline without a device of this model."""
        if model not in self._names.values():
            models = ", ".join(sorted(set(self._names.values()))) or "no device"
            raise InputError(f"--baseline {self._path} is of {models}, and this is {model}: use one of its kind")

    def figure(self, device: str, model: str | None, test: str, name: str) -> Figure | None:
        """Return the figure of a device of that model, preferably under the same number.

        `model` is None for a pair, whose figure is that of the pair with the same numbers.
        """
        candidates = [
            result
            for result in self._results
            if result.figure
            and (result.test, result.name) == (test, name)
            and (result.device == device if model is None else self._names.get(result.device) == model)
        ]
        candidates.sort(key=lambda result: result.device != device)
        return candidates[0].figure if candidates else None
