"""The run of `engine_probe suite`: each sweep as `engine_probe sweep` runs it, then one report."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from engine_probe.commands.options.result_location import make_folder
from engine_probe.commands.sweep.measure import measure as measure_sweep
from engine_probe.commands.sweep.reading import check_before_start
from engine_probe.commands.sweep.suite.reading import preparation
from engine_probe.commands.sweep.suite.report import report
from engine_probe.errors import INTERRUPTED
from engine_probe.recordings.suite import COMPLETE, SuiteState, SweepState
from engine_probe.sweep.definition.sweep_file import SweepFile
from engine_probe.sweep.suite.plan import Planned
from engine_probe.sweep.suite.run import SuiteRun
from engine_probe.text_format import counted, plain


def start(state: SuiteState, found: Sequence[Planned], folder: Path, force: bool, verbose: bool) -> int:
    """Measure a suite into a new folder, report it, and return the exit code."""
    with closing(make_folder(folder)):
        return run(SuiteRun(folder, state, found), force, verbose)


def go_on(folder: Path, force: bool, verbose: bool) -> int:
    return run(SuiteRun.resumed(folder, lambda state: preparation(state.twin)), force, verbose)


def run(suite: SuiteRun, force: bool, verbose: bool) -> int:
    """Measure what is left and report all of it, also after Ctrl-C."""

    def measure(sweep: SweepFile, row: SweepState, place: Path, resume: bool) -> int:
        heading = plain(progress(suite.state, row))
        say(heading)
        check_before_start([sweep], on_fleet=False)
        return measure_sweep(
            sweep,
            row.name,
            address=None,
            force=force,
            out=str(place),
            resume=str(place) if resume else None,
            verbose=verbose,
            report=False,
            heading=heading,
        )

    what = "measure" if suite.state.twin is None else "predict"
    say(plain(f"{suite.state.shown_title}: {counted(len(suite.left), 'sweep')} to {what}, into {suite.folder}"))
    code = suite.run(measure, say)
    if code == INTERRUPTED:
        say(f"interrupted: what is complete is kept; continue with engine_probe suite --resume {suite.folder}")
    report(suite.folder)
    return code


def progress(state: SuiteState, row: SweepState) -> str:
    """Say which sweep of the suite this is, and what came of those before."""
    names = [each.name for each in state.sweeps]
    ended = [each.status for each in state.sweeps[: names.index(row.name)]]
    lost = len(ended) - ended.count(COMPLETE)
    before = f"; {ended.count(COMPLETE)} complete" if ended else ""
    before += f", {lost} not" if lost else ""
    return f"sweep {len(ended) + 1} of {len(names)}: {row.name}, {state.sections[row.section].title}{before}"


def say(line: str) -> None:
    click.echo(plain(line), err=True)
