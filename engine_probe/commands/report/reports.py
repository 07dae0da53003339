"""The reports of `engine_probe report`: of a run, a sweep, several sweeps, a suite, a trace, or measured hardware."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from engine_probe.analysis.money.prices import Prices
from engine_probe.analysis.run.slo import Slo, read_goodput
from engine_probe.commands import perplexity
from engine_probe.commands.options.document_output import page_file, show_document
from engine_probe.errors import InputError
from engine_probe.evaluation.money.costs import Money, run_money, sweep_money
from engine_probe.evaluation.money.price_list import find_prices, judged_with, prices_of
from engine_probe.evaluation.published.reference import Reference, read_reference
from engine_probe.evaluation.scores import read_scores
from engine_probe.files.new_file import STANDARD_OUTPUT, check_free, fresh_file
from engine_probe.record.run_folder import COMPLETE
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.experiment import open_experiment
from engine_probe.recordings.forward_passes import is_trace, load_forward_passes
from engine_probe.recordings.perplexity import text_folder
from engine_probe.recordings.run import load
from engine_probe.recordings.suite import is_suite, open_suite
from engine_probe.recordings.sweep import Swept, is_sweep, open_sweep
from engine_probe.report.brief_document import LINES
from engine_probe.report.document import Document
from engine_probe.report.experiment_report import experiment_document
from engine_probe.report.renderers.json import (
    experiment_figures,
    pass_figures,
    run_figures,
    suite_figures,
    sweep_figures,
)
from engine_probe.report.renderers.markdown import markdown
from engine_probe.report.run_report import run_document
from engine_probe.report.sections.forward_passes import forward_pass_document
from engine_probe.report.suite_report import suite_document
from engine_probe.report.sweep_report import Evaluation, sweep_document, sweep_page_document

RUN_MORE = "--verbose shows memory, hardware use and statistics; --html FILE draws the charts."
SWEEP_MORE = "--verbose shows advice, latencies over the load and statistics; --html FILE draws the charts."
EXPERIMENT_MORE = "--verbose shows every level and all settings; --html FILE draws the charts."
SUITE_MORE = (
    "--verbose shows every section in full; --html FILE draws the charts; name a sweep's folder for its points."
)
PASSES_MORE = "--html FILE draws the charts."


@dataclass(frozen=True)
class ReportOptions:
    """What a report is held against."""

    slo: Slo | None = None
    prices: Prices | None = None
    at: Path = Path()  # where a price list lies: it names recordings from there
    scores: Path | None = None
    reference: str | None = None

    def published(self) -> Reference | None:
        """Return the published figures that are named."""
        return None if self.reference is None else read_reference(self.reference)


@dataclass(frozen=True)
class Made:
    """A report as a document; pages and JSON, which have more, are made when they are wanted."""

    document: Document
    page: Callable[[], Document]
    figures: Callable[[], bytes]
    more: str  # what --verbose and --html add
    code: int
    is_short: bool = True  # in a terminal


def show_report(
    folders: Sequence[Path],
    page: Path | None,
    figures: Path | None,
    text: Path | None,
    verbose: bool,
    limits: Sequence[str],
    percentile: float,
    scores: Path | None,
    reference: str | None,
    prices: str | None,
    cost_per_hour: str | None,
    price_per_million: str | None,
) -> NoReturn:
    """Report what the folders hold, write the files that are asked for, and exit with the code of the report."""
    check_free(page, figures, text)
    folder, several = folders[0], len(folders) > 1
    if is_trace(folder) and not several:
        if any((limits, prices, cost_per_hour, price_per_million, scores, reference)):
            raise InputError(
                f"{folder} is a forward-pass trace without requests: leave out --goodput, costs and --reference"
            )
        made = report_forward_passes(folder)
    elif not several and (folder.is_file() or (not is_sweep(folder) and text_folder(folder))):
        if text is not None:
            raise InputError(f"--markdown {text}: {folder} is neither a run nor a sweep: leave --markdown out")
        sys.exit(show_hardware(folder, page) if folder.is_file() else perplexity.show(folder))
    else:
        slo = read_goodput(list(limits), percentile)
        at = find_prices(prices).parent if prices is not None else Path()
        priced = prices_of(prices, cost_per_hour, price_per_million)
        asked = ReportOptions(judged_with(slo, priced), priced, at, scores, reference)
        made = report_experiment(folders, asked) if several else report_one(folder, asked)
    as_text = text, lambda: markdown(made.document).encode()
    files = page_file(page, made.page), (figures, made.figures), as_text
    lines = LINES if made.is_short else None
    show_document(made.document, *files, verbose=verbose, more=made.more, lines=lines)
    sys.exit(made.code)


def show_hardware(path: Path, page: Path | None) -> int:
    """Show what `validate --json` wrote, of one machine or of a fleet, as that command shows it."""
    from kernels_bench.errors import InputError as NoReportError
    from kernels_bench.judge.fleet import exit_code
    from kernels_bench.output.fleet_terminal import show_any
    from kernels_bench.output.json_file import read_any
    from kernels_bench.output.page.document import page as drawn

    try:
        done = read_any(path)
    except NoReportError as error:
        reason = error.message.removeprefix(f"{path} is not a report of kernels_bench: ")
        why = f" ({reason})" if path.suffix == ".json" else ""
        raise InputError(
            f"{path} is a file but not a report of validate{why}: give the folder of a run or of a sweep"
        ) from error
    if page is not None:
        with fresh_file(page) as file:
            file.write(drawn(done).encode())
    if page == STANDARD_OUTPUT:
        return exit_code(done)
    code = show_any(done)
    if page is not None:
        click.echo(f"\n{page}")
    return code


def report_forward_passes(path: Path) -> Made:
    passes = load_forward_passes(path)
    document = forward_pass_document(passes)
    return Made(document, lambda: document, lambda: pass_figures(passes), PASSES_MORE, code=0, is_short=False)


def report_one(folder: Path, asked: ReportOptions) -> Made:
    if is_suite(folder):
        return report_suite(folder, asked)
    if is_sweep(folder):
        return report_sweep(folder, asked)
    if asked.scores is not None:
        raise InputError(f"--score compares loads, and {folder} is a single run: name a sweep's folder")
    if asked.reference is not None:
        raise InputError(f"--reference is compared with a sweep, and {folder} is a single run: name a sweep's folder")
    return report_run(folder, asked)


def report_run(folder: Path, asked: ReportOptions) -> Made:
    run = load(folder)
    found = run.analysis(asked.slo)
    money = run_money(found, asked.prices, asked.slo, asked.at)
    document = run_document(run, found, money)
    code = 0 if run.status == COMPLETE else 1
    return Made(document, lambda: document, lambda: run_figures(run, found, money), RUN_MORE, code)


def report_sweep(folder: Path, asked: ReportOptions) -> Made:
    """Return the report of a sweep; its code is 1 where a point that ran with the probe has no whole recording."""
    reference = asked.published()
    swept = open_sweep(folder, asked.slo)
    scores = None if asked.scores is None else read_scores(asked.scores, {point.id for point in swept.points})
    found = curves(swept.points)
    money = sweep_money(swept, found, asked.prices, asked.slo, asked.at)
    evaluation = Evaluation(money, reference, scores)
    whole = all(point.measured for point in swept.points) and all(text.perplexity for text in swept.texts)
    return Made(
        sweep_document(swept, found, evaluation),
        lambda: sweep_page_document(swept, found, evaluation),
        lambda: sweep_figures(swept, found, money),
        SWEEP_MORE,
        code=0 if swept.points and whole else 1,
    )


def report_experiment(folders: Sequence[Path], asked: ReportOptions) -> Made:
    """Return the report of several sweeps; its code is 1 where one of their points has no whole recording."""
    if asked.scores is not None:
        raise InputError(f"--score names the points of one sweep, and {len(folders)} are given: name one of them")
    reference = asked.published()
    experiment = open_experiment(folders, asked.slo)
    found, points = experiment.curves, experiment.together.points
    money = sweep_money(experiment.together, found, asked.prices, asked.slo, asked.at)
    document = experiment_document(experiment, found, Evaluation(money, reference))
    return Made(
        document,
        lambda: document,
        lambda: experiment_figures(experiment, found, money),
        EXPERIMENT_MORE,
        code=0 if points and all(point.analysis or point.unprobed for point in points) else 1,
        is_short=False,
    )


def report_suite(folder: Path, asked: ReportOptions) -> Made:
    """Return the report of a suite, in the order of its document; its code is 1 where a sweep is not complete."""
    if asked.scores is not None:
        raise InputError(f"--score names the points of one sweep, and {folder} is a suite: name one of its sweeps")
    given = asked.published()
    suite = open_suite(folder, asked.slo)

    def money_of(swept: Swept, found: Sequence[Curve]) -> Money:
        return sweep_money(swept, found, asked.prices, asked.slo, asked.at)

    def evaluate(swept: Swept, found: Sequence[Curve], own: str | None) -> Evaluation:
        reference = given if given is not None or own is None else read_reference(own)
        return Evaluation(money_of(swept, found), reference)

    document = suite_document(suite, evaluate)
    code = 0 if all(row.status == COMPLETE for row in suite.state.sweeps) else 1
    return Made(document, lambda: document, lambda: suite_figures(suite, money_of), SUITE_MORE, code)
