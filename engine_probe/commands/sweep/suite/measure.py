"""The run of `engine_probe suite`: each sweep as `engine_probe sweep` runs it, then one report."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from engine_probe.commands.options.console import PIPED_WIDTH, output_console
from engine_probe.commands.options.result_location import Results, make_folder
from engine_probe.commands.report.reports import ReportOptions, report_suite
from engine_probe.commands.sweep.measure import measure as measure_sweep
from engine_probe.commands.sweep.suite.suite_argument import preparation
from engine_probe.commands.sweep.sweep_argument import check_before_start
from engine_probe.errors import INTERRUPTED
from engine_probe.files.new_file import atomic_write, writing
from engine_probe.recordings.suite import COMPLETE, SuiteState, SweepState
from engine_probe.report.brief_document import LINES
from engine_probe.report.renderers.html_document import html_page
from engine_probe.report.renderers.terminal import print_document
from engine_probe.sweep.definition.sweep_file import SweepFile
from engine_probe.sweep.preflight.earlier_sweeps import earlier
from engine_probe.sweep.preflight.target import this_machine
from engine_probe.sweep.suite.forecast import forecast
from engine_probe.sweep.suite.plan import PlannedSweep
from engine_probe.sweep.suite.suite_run import SuiteRun
from engine_probe.text_format import counted, long_duration, plain

PAGE = "report.html"


def start(
    state: SuiteState, found: Sequence[PlannedSweep], folder: Path, address: str | None, force: bool, verbose: bool
) -> int:
    """Measure a suite into a new folder, report it, and return the exit code."""
    with closing(make_folder(folder)):
        return run(SuiteRun(folder, state, found), address, force, verbose)


def go_on(folder: Path, address: str | None, force: bool, verbose: bool) -> int:
    with closing(Results(folder)):
        return run(SuiteRun.resumed(folder, lambda state: preparation(state.twin)), address, force, verbose)


def run(suite: SuiteRun, address: str | None, force: bool, verbose: bool) -> int:
    """Measure what is left and report all of it, also after Ctrl-C."""
    known = address is None and suite.state.twin is None

    def measure(sweep: SweepFile, row: SweepState, place: Path, resume: bool) -> int:
        heading = plain(progress(suite.state, row) + (time_left(suite) if known else ""))
        say(heading)
        check_before_start([sweep], on_fleet=address is not None)
        return measure_sweep(
            sweep,
            row.name,
            address=address,
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


def time_left(suite: SuiteRun) -> str:
    """Say how long what is left will take, as far as points that were measured on this machine tell."""
    here = this_machine()
    target = here._replace(past=[*earlier(suite.folder, here.hardware or {}), *here.past])
    sweeps = [each for place in suite.left if (each := suite.sweep_at(place)) is not None]
    forecasts = [each for each in (forecast(sweep, target) for sweep in sweeps) if not each.against]
    timed = [each for each in forecasts if each.seconds is not None and not each.is_bound]
    if not timed:
        return ""
    of = f" for {len(timed)} of {len(forecasts)}" if len(timed) < len(forecasts) else ""
    seconds = sum(each.seconds or 0.0 for each in timed)
    return f"; about {long_duration(seconds)} left{of}, by what was measured here"


def say(line: str) -> None:
    click.echo(plain(line), err=True)


def report(folder: Path) -> None:
    """Print the report of what is measured, and write its page, over that of an earlier run of this suite."""
    made = report_suite(folder, ReportOptions())
    with writing(folder / PAGE):
        atomic_write(folder / PAGE, html_page(made.page()).encode())
    console = output_console(PIPED_WIDTH)
    console.print()
    more = f"engine_probe report {folder} --verbose shows every section in full."
    print_document(made.document, console, more=more, lines=LINES)
    console.print(f"\n{folder / PAGE}", soft_wrap=True)
