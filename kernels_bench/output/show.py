"""Either kind of report on a terminal and in its files, and its exit code."""

from __future__ import annotations

from collections.abc import Callable

from kernels_bench.judge.fleet import FleetReport, fleet_exit_code
from kernels_bench.output.fleet_terminal import show_box, show_fleet
from kernels_bench.output.terminal import exit_code, show
from kernels_bench.results import Report


def show_any(done: Report | FleetReport, write_files: Callable[[], None] = lambda: None) -> int:
    """A full disk takes nothing off the screen."""
    try:
        write_files()
    finally:
        if isinstance(done, FleetReport):
            show_fleet(done)
        else:
            show(done)
            if len(done.devices) > 1:
                show_box(done)
    return code_of(done)


def code_of(done: Report | FleetReport) -> int:
    return fleet_exit_code(done) if isinstance(done, FleetReport) else exit_code(done)
