"""`engine_probe sweep A --against B`: both are measured in turns on this machine, and compared."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import click

from engine_probe.commands.options.console import PIPED_WIDTH, output_console
from engine_probe.commands.options.result_location import make_folder
from engine_probe.errors import InputError
from engine_probe.evaluation.occasions import FEWEST, compare_occasions
from engine_probe.report.brief_document import LINES
from engine_probe.report.compare_document import compare_document
from engine_probe.report.renderers.terminal import print_document
from engine_probe.sweep.definition.sweep_file import SweepFile
from engine_probe.text_format import plain

SIDES = BEFORE, AFTER = "before", "after"
MEASURED = 0, 1  # exit codes of a sweep of which all or some points are measured


def measure_in_turns(sides: Sequence[SweepFile], rounds: int, place: Path, measure: Callable[..., int]) -> int:
    """Measure each side `rounds` times into folders of its own, compare them, and return the exit code.

    End with a sweep that is interrupted or measures nothing: the same side would fail again.
    """
    code, done = 0, {side: list[Path]() for side in SIDES}
    with closing(make_folder(place)):
        for number, side in enumerate(in_order(rounds), 1):
            folder = place / f"{side}-{len(done[side]) + 1}"
            click.echo(plain(f"{folder.name}: sweep {number} of {len(SIDES) * rounds}"), err=True)
            ended = measure(sides[SIDES.index(side)], out=str(folder), report=False)
            code = max(code, ended)
            if ended not in MEASURED:
                break
            done[side].append(folder)
    compare_sides(done[BEFORE], done[AFTER])
    return code


def in_order(rounds: int) -> Iterator[str]:
    """Yield the side to measure: before, after, after, before and so on, so that a drift favours neither."""
    for number in range(rounds):
        yield from reversed(SIDES) if number % 2 else SIDES


def compare_sides(before: Sequence[Path], after: Sequence[Path]) -> None:
    """Show the comparison, and the command that shows it again."""
    if min(len(before), len(after)) < FEWEST:
        counts = f"{len(before)} and {len(after)} were measured"
        click.echo(f"not compared: {FEWEST} sweeps of each side are needed, and {counts}", err=True)
        return
    try:
        found = compare_occasions(before, after)
    except InputError as error:  # points that fail each time: the sweeps themselves are kept
        click.echo(plain(f"not compared: {error}"), err=True)
        return
    console = output_console(PIPED_WIDTH)
    console.print()
    print_document(compare_document([found], []), console, lines=LINES)
    again = f"engine_probe compare {' '.join(map(str, before))} --against {' '.join(map(str, after))}"
    console.print(f"The same again: {again}", soft_wrap=True, style="dim")
