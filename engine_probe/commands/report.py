"""`engine_probe report`: what a recording or a sweep says, in the terminal and as a page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.document_output import page_file, show_document
from engine_probe.commands.options.engine_options import under
from engine_probe.commands.options.result_location import recorded
from engine_probe.errors import InputError
from engine_probe.files.new_file import STANDARD_OUTPUT, check_free, fresh_file
from kernels_bench.options import FILE, Number

if TYPE_CHECKING:
    from engine_probe.analysis.money.prices import Prices
    from engine_probe.analysis.run.slo import Slo
    from engine_probe.report.document import Document


@dataclass(frozen=True)
class ReportOptions:
    """What a report is held against."""

    slo: Slo | None
    prices: Prices | None
    at: Path  # where a price list lies: it names recordings from there
    scores: Path | None
    reference: str | None


@dataclass(frozen=True)
class Made:
    """A report as a document; pages and JSON, which have more, are made when they are wanted."""

    document: Document
    page: Callable[[], Document]
    figures: Callable[[], bytes]
    more: str  # what --verbose and --html add
    code: int
    is_short: bool = True  # in a terminal


RUN_MORE = "--verbose shows memory, hardware use and statistics; --html FILE draws the charts."
SWEEP_MORE = "--verbose shows advice, latencies over the load and statistics; --html FILE draws the charts."
EXPERIMENT_MORE = "--verbose shows every level and all settings; --html FILE draws the charts."
SUITE_MORE = (
    "--verbose shows every section in full; --html FILE draws the charts; name a sweep's folder for its points."
)
PASSES_MORE = "--html FILE draws the charts."
output, judge, costs = map(under, ("Output", "Criteria", "Costs"))


@click.command("report", cls=reading_options.WithGoodput)
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=recorded)
@reading_options.html
@output("--json", "figures", metavar="FILE", type=FILE, help="Write every figure; - is standard output.")
@output(
    "--markdown", "text", metavar="FILE", type=FILE, help="Write Markdown for a pull request; - is standard output."
)
@output("--verbose", is_flag=True, help="Show everything in the terminal: memory, hardware use, statistics.")
@reading_options.goodput
@judge(
    "--goodput-percentile",
    "percentile",
    type=Number(min=50, max=100, max_open=True),
    default=90,
    show_default=True,
    help="Percentage of requests that must meet all limits for a load to pass.",
)
@judge(
    "--score",
    "scores",
    metavar="FILE",
    type=FILE,
    help="Scores of the answers (CSV or JSON): test whether load changes them (sweeps).",
)
@judge("--reference", metavar="NAME|FILE", help="Compare with published figures (sweeps).")
@costs("--money", "prices", metavar="FILE", help="A price list (TOML): cost, revenue, profit, options.")
@costs("--cost-per-hour", metavar="SUM", help="Total cost of the engine per hour: 2.5 or 2.5EUR.")
@costs("--price-per-million", metavar="SUM", help="Price per million output tokens: 0.6 or 0.6EUR.")
def command(
    folders: tuple[Path, ...],
    page: Path | None,
    figures: Path | None,
    text: Path | None,
    verbose: bool,
    scores: Path | None,
    reference: str | None,
    limits: tuple[str, ...],
    percentile: float,
    prices: str | None,
    cost_per_hour: str | None,
    price_per_million: str | None,
) -> None:
    """Summarise a run or sweep, and name its bottleneck and the load at which it begins to limit throughput.

    Several sweeps are reported as one experiment: their curves in common charts, and a sentence for each. A suite is
    reported in the order of its document.

    FOLDER may also be a report file of `engine_probe validate --json`, or a forward-pass trace of NVIDIA Dynamo.
    """
    check_free(page, figures, text)
    from engine_probe.recordings.forward_passes import is_trace
    from engine_probe.recordings.perplexity import text_folder
    from engine_probe.recordings.sweep import is_sweep

    folder, several = folders[0], len(folders) > 1
    if is_trace(folder) and not several:
        refuse_for_a_trace(folder, limits, prices, cost_per_hour, price_per_million, scores, reference)
        write(report_forward_passes(folder), page, figures, text, verbose)
        return
    other = not several and (folder.is_file() or (not is_sweep(folder) and text_folder(folder)))
    if text is not None and other:
        raise InputError(f"--markdown {text}: {folder} is neither a run nor a sweep: leave --markdown out")
    if other and folder.is_file():
        report_hardware(folder, page)
    if other:
        from engine_probe.commands.perplexity import show

        sys.exit(show(folder))
    from engine_probe.analysis.run.slo import read_goodput
    from engine_probe.evaluation.money.price_list import find_prices, judged_with, prices_of

    slo = read_goodput(list(limits), percentile)
    at = find_prices(prices).parent if prices is not None else Path()
    priced = prices_of(prices, cost_per_hour, price_per_million)
    asked = ReportOptions(judged_with(slo, priced), priced, at, scores, reference)
    made = report_experiment(folders, asked) if several else report_one(folder, asked)
    write(made, page, figures, text, verbose)
    sys.exit(made.code)


def write(made: Made, page: Path | None, figures: Path | None, text: Path | None, verbose: bool) -> None:
    from engine_probe.report.brief_document import LINES
    from engine_probe.report.renderers.markdown import markdown

    as_text = text, lambda: markdown(made.document).encode()
    files = page_file(page, made.page), (figures, made.figures), as_text
    lines = LINES if made.is_short else None
    show_document(made.document, *files, verbose=verbose, more=made.more, lines=lines)


def refuse_for_a_run(folder: Path, scores: Path | None, reference: str | None) -> None:
    if scores is not None:
        raise InputError(f"--score compares loads, and {folder} is a single run: name a sweep's folder")
    if reference is not None:
        raise InputError(f"--reference is compared with a sweep, and {folder} is a single run: name a sweep's folder")


def refuse_for_a_trace(path: Path, *asked: object) -> None:
    if any(asked):
        raise InputError(f"{path} is a forward-pass trace without requests: leave out --goodput, costs and --reference")


def report_hardware(path: Path, page: Path | None) -> NoReturn:
    """Show what `validate --json` wrote, of one machine or of a fleet, as that command shows it."""
    from kernels_bench.errors import InputError as NoReportError
    from kernels_bench.output.fleet_terminal import code_of, show_any
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
        sys.exit(code_of(done))
    code = show_any(done)
    if page is not None:
        click.echo(f"\n{page}")
    sys.exit(code)


def report_forward_passes(path: Path) -> Made:
    from engine_probe.recordings.forward_passes import load_forward_passes
    from engine_probe.report.renderers.json import pass_figures
    from engine_probe.report.sections.forward_passes import forward_pass_document

    passes = load_forward_passes(path)
    document = forward_pass_document(passes)
    return Made(document, lambda: document, lambda: pass_figures(passes), PASSES_MORE, code=0, is_short=False)


def report_one(folder: Path, asked: ReportOptions) -> Made:
    from engine_probe.recordings.suite import is_suite
    from engine_probe.recordings.sweep import is_sweep

    if is_suite(folder):
        return report_suite(folder, asked)
    if is_sweep(folder):
        return report_sweep(folder, asked)
    refuse_for_a_run(folder, asked.scores, asked.reference)
    return report_run(folder, asked)


def report_run(folder: Path, asked: ReportOptions) -> Made:
    from engine_probe.evaluation.money.costs import run_money
    from engine_probe.record.run_folder import COMPLETE
    from engine_probe.recordings.run import load
    from engine_probe.report.renderers.json import run_figures
    from engine_probe.report.run_report import run_document

    run = load(folder)
    found = run.analysis(asked.slo)
    money = run_money(found, asked.prices, asked.slo, asked.at)
    document = run_document(run, found, money)
    code = 0 if run.status == COMPLETE else 1
    return Made(document, lambda: document, lambda: run_figures(run, found, money), RUN_MORE, code)


def report_sweep(folder: Path, asked: ReportOptions) -> Made:
    """Return the report of a sweep; its code is 1 where a point that was watched has no whole recording."""
    from engine_probe.evaluation.money.costs import sweep_money
    from engine_probe.evaluation.published.reference import read_reference
    from engine_probe.evaluation.scores import read_scores
    from engine_probe.recordings.curve import curves
    from engine_probe.recordings.sweep import open_sweep
    from engine_probe.report.renderers.json import sweep_figures
    from engine_probe.report.sweep_report import Evaluation, sweep_document, sweep_page_document

    reference = None if asked.reference is None else read_reference(asked.reference)
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
    from engine_probe.evaluation.money.costs import sweep_money
    from engine_probe.evaluation.published.reference import read_reference
    from engine_probe.recordings.experiment import open_experiment
    from engine_probe.report.experiment_report import experiment_document
    from engine_probe.report.renderers.json import experiment_figures
    from engine_probe.report.sweep_report import Evaluation

    if asked.scores is not None:
        raise InputError(f"--score names the points of one sweep, and {len(folders)} are given: name one of them")
    reference = None if asked.reference is None else read_reference(asked.reference)
    experiment = open_experiment(folders, asked.slo)
    found = experiment.curves
    money = sweep_money(experiment.together, found, asked.prices, asked.slo, asked.at)
    document = experiment_document(experiment, found, Evaluation(money, reference))
    points = experiment.together.points
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
    from engine_probe.evaluation.money.costs import Money, sweep_money
    from engine_probe.evaluation.published.reference import read_reference
    from engine_probe.recordings.curve import Curve
    from engine_probe.recordings.suite import COMPLETE, open_suite
    from engine_probe.recordings.sweep import Swept
    from engine_probe.report.renderers.json import suite_figures
    from engine_probe.report.suite_report import suite_document
    from engine_probe.report.sweep_report import Evaluation

    if asked.scores is not None:
        raise InputError(f"--score names the points of one sweep, and {folder} is a suite: name one of its sweeps")
    given = None if asked.reference is None else read_reference(asked.reference)
    suite = open_suite(folder, asked.slo)

    def money_of(swept: Swept, curves: Sequence[Curve]) -> Money:
        return sweep_money(swept, curves, asked.prices, asked.slo, asked.at)

    def evaluate(swept: Swept, curves: Sequence[Curve], own: str | None) -> Evaluation:
        reference = given if given is not None or own is None else read_reference(own)
        return Evaluation(money_of(swept, curves), reference)

    document = suite_document(suite, evaluate)
    code = 0 if all(row.status == COMPLETE for row in suite.state.sweeps) else 1
    return Made(document, lambda: document, lambda: suite_figures(suite, money_of), SUITE_MORE, code)
