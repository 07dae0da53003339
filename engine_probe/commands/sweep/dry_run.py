"""`engine_probe sweep --dry-run`: the points of a sweep and their predicted times."""

from collections.abc import Sequence
from pathlib import Path

import click

from engine_probe.commands.options.console import output_console
from engine_probe.sweep.definition.request_memory import check_plans
from engine_probe.sweep.definition.sweep_file import SweepFile, apart, points
from engine_probe.sweep.execution.oversized_points import check_any_left
from engine_probe.sweep.preflight.dry_run import show_points
from engine_probe.sweep.preflight.target import Target, target_of


def predict_all(
    sweeps: Sequence[SweepFile], rounds: int, like: Path | None, address: str | None, device: str | None
) -> None:
    """Show one sweep, or the two that are measured in turns; `device` names a GPU that need not be here."""
    target = target_of(like, device, address)
    for sweep in sweeps:
        predict(sweep, target)
    if len(sweeps) > 1:
        click.echo(f"Each of the two is measured {rounds} times.")


def predict(sweep: SweepFile, target: Target) -> None:
    """Show the points of a sweep, with predicted times unless it is for a fleet."""
    console, found, hardware = output_console(), points(sweep), target.hardware
    if hardware is not None:
        check_plans(apart(found), hardware["host"]["memory_bytes"])
    left_out = target.beyond(found)
    show_points(sweep, target, console, left_out)
    if hardware is None or hardware["gpus"]:
        check_any_left(found, left_out)
    elif left_out:
        console.print("--device GPU predicts for a GPU by its datasheet.")
