"""Either kind of report on a terminal, and its exit code."""

from __future__ import annotations

from kernels_bench.fleet_report import show_fleet
from kernels_bench.fleet_results import FleetReport, fleet_exit_code
from kernels_bench.report import exit_code, show
from kernels_bench.results import Report


def show_any(done: Report | FleetReport) -> int:
    if isinstance(done, FleetReport):
        show_fleet(done)
        return fleet_exit_code(done)
    show(done)
    return exit_code(done)
