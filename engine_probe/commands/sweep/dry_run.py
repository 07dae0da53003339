"""`engine_probe sweep --dry-run`: the points of a sweep and their predicted times."""

from collections.abc import Sequence
from pathlib import Path

import click

from engine_probe.commands.options.console import output_console
from engine_probe.errors import InputError
from engine_probe.sweep.definition.request_memory import check_plans
from engine_probe.sweep.definition.sweep_file import SweepFile, apart, points
from engine_probe.sweep.execution.oversized_points import beyond_fleet, beyond_machine, check_any_left, refused
from engine_probe.sweep.fleet.ray_cluster import connected
from engine_probe.sweep.preflight.dry_run import show_points
from engine_probe.sweep.preflight.duration_estimate import speed_here
from engine_probe.sweep.preflight.earlier_sweeps import checked_folder, earlier
from engine_probe.sweep.preflight.gpu_memory import GpuMemory, check_memory, named_gpu, smallest_gpu
from engine_probe.telemetry.hardware import hardware_facts


def predict_all(
    sweeps: Sequence[SweepFile], rounds: int, like: Path | None, address: str | None, device: str | None = None
) -> None:
    """Show one sweep, or the two that are measured in turns; `device` names a GPU that need not be here."""
    if device is not None and (like or address):
        raise InputError(f"--device {device} predicts by a datasheet: leave {'--like' if like else '--ray'} out")
    for sweep in sweeps:
        if device is not None:
            predict_for(sweep, named_gpu(device))
        else:
            predict(sweep, like, address)
    if len(sweeps) > 1:
        click.echo(f"Each of the two is measured {rounds} times.")


def predict(sweep: SweepFile, like: Path | None, address: str | None) -> None:
    """Show the points of a sweep, with predicted times on this machine and without on a fleet."""
    console = output_console()
    where = checked_folder(like) if like else Path("runs")
    found = points(sweep)
    if address is not None:
        with connected(address) as cluster:
            left_out = beyond_fleet(found, cluster.nodes())
        show_points(sweep, [], None, {}, console, left_out=left_out)
        check_any_left(found, left_out)
    else:
        hardware = hardware_facts()
        memory_bytes = hardware["host"]["memory_bytes"]
        check_plans(apart(found), memory_bytes)
        left_out = beyond_machine(found, hardware["gpus"], memory_bytes)
        gpu, past = smallest_gpu(hardware["gpus"]), earlier(where, hardware)
        show_points(sweep, past, where, hardware, console, gpu, left_out, speed_here(hardware))
        if hardware["gpus"]:
            check_any_left(found, left_out)
        elif left_out:
            console.print("--device GPU predicts for a GPU by its datasheet.")


def predict_for(sweep: SweepFile, gpu: GpuMemory) -> None:
    """Show the points of a sweep on GPUs that are not here: as many as it asks for."""
    left_out = refused(points(sweep), lambda point: check_memory(gpu, [point]))
    show_points(sweep, [], Path("runs"), {}, output_console(), gpu, left_out)
    check_any_left(points(sweep), left_out)
