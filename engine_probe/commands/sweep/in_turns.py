"""`engine_probe sweep A --against B`: both are measured in turns on this machine, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.errors import INTERRUPTED, InputError
from engine_probe.text_format import plain

if TYPE_CHECKING:
    from engine_probe.sweep.definition.sweep_file import SweepFile

BEFORE, AFTER = "before", "after"


def measure_in_turns(
    sides: Sequence[SweepFile],
    name: str,
    rounds: int,
    address: str | None,
    force: bool,
    out: str | None,
    verbose: bool,
) -> int:
    """Measure both sides in turns into folders of their own, compare what is complete, and return the exit code."""
    from engine_probe.commands.options.result_location import make_folder
    from engine_probe.commands.sweep.measure import measure
    from engine_probe.recordings.remote_folder import is_uri

    if out is not None and is_uri(out):
        raise InputError(f"--out {out}: with --against the sweeps are written to this machine: name a folder")
    place = Path(out or Path("runs") / f"{name}-{datetime.now():%Y%m%dT%H%M%S}")
    make_folder(place)
    code, turns = 0, list(in_order(sides, rounds))
    for number, (folder, sweep) in enumerate(turns, 1):
        click.echo(plain(f"{folder}, sweep {number} of {len(turns)}"), err=True)
        ended = measure(sweep, name, address, force, str(place / folder), None, verbose, report=False)
        code = max(code, ended)
        if ended == INTERRUPTED:
            break
    compare_turns(place)
    return code


def in_order(sides: Sequence[SweepFile], rounds: int) -> Iterator[tuple[str, SweepFile]]:
    """Yield each folder's name and its sweep in the order of time: AB BA AB, so that a drift favours neither side."""
    for number in range(1, rounds + 1):
        both = [(f"{side}-{number}", sweep) for side, sweep in zip((BEFORE, AFTER), sides, strict=True)]
        yield from both if number % 2 else reversed(both)


def compare_turns(place: Path) -> None:
    """Show the comparison of the sweeps that have points, and the command that shows it again."""
    from engine_probe.commands.options.console import PIPED_WIDTH, output_console
    from engine_probe.evaluation.occasions import FEWEST, compare_occasions
    from engine_probe.recordings.sweep import is_sweep
    from engine_probe.report.compare_document import compare_document
    from engine_probe.report.renderers.terminal import print_document

    before, after = ([each for each in sorted(place.glob(f"{side}-*")) if is_sweep(each)] for side in (BEFORE, AFTER))
    again = f"engine_probe compare {' '.join(map(str, before))} --against {' '.join(map(str, after))}"
    if min(len(before), len(after)) < FEWEST:
        click.echo(f"not compared: it takes {FEWEST} sweeps of each side, and there are {len(before)} and {len(after)}")
        return
    console = output_console(PIPED_WIDTH)
    console.print()
    print_document(compare_document([compare_occasions(before, after)], []), console)
    console.print(f"Again, and with bounds: {again}", soft_wrap=True, style="dim")
