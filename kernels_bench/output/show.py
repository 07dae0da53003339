"""Showing the report of a machine or a fleet, writing its files, and its exit code."""

from collections.abc import Callable

from kernels_bench.judge.fleet import FleetReport, fleet_exit_code
from kernels_bench.output.fleet_terminal import show_all_devices, show_fleet
from kernels_bench.output.terminal import exit_code, show
from kernels_bench.results import Report


def show_any(report: Report | FleetReport, write_files: Callable[[], None] = lambda: None) -> int:
    """Write the files, show the report even if that fails, and return the exit code."""
    try:
        write_files()
    finally:
        if isinstance(report, FleetReport):
            show_fleet(report)
        else:
            show(report)
            if len(report.devices) > 1:
                show_all_devices(report)
    return code_of(report)


def code_of(report: Report | FleetReport) -> int:
    return fleet_exit_code(report) if isinstance(report, FleetReport) else exit_code(report)
