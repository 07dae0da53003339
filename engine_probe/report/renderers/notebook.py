"""How runs, sweeps and comparisons show themselves in Jupyter: small, without scripts, on light and on dark."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import singledispatch
from itertools import islice

from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.run.timeline import thinned
from engine_probe.analysis.run.token_times import waiting_requests
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.errors import EngineProbeError
from engine_probe.evaluation.comparison import Comparison
from engine_probe.evaluation.trend import TrendOver
from engine_probe.record.schema import TABLES
from engine_probe.recordings.curve import curves
from engine_probe.recordings.experiment import Experiment, experiment
from engine_probe.recordings.forward_passes import ForwardPasses
from engine_probe.recordings.run import Run
from engine_probe.recordings.suite import Suite
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.charts.compare import compare_charts
from engine_probe.report.charts.experiment.across_curves import SATURATION_TITLES, across_charts
from engine_probe.report.charts.model import Lines, numbers
from engine_probe.report.charts.sweep import throughput_charts
from engine_probe.report.charts.time_units import in_seconds
from engine_probe.report.document import Figure, Section, Sentence, Table, Tone, cell_words, says
from engine_probe.report.sections.compare.change_words import short_names
from engine_probe.report.sections.compare.changes import changes_section
from engine_probe.report.sections.compare.trend import trend_charts, trend_verdict
from engine_probe.report.sections.compare.verdict import compare_verdict
from engine_probe.report.sections.experiment.suite import suite_verdict
from engine_probe.report.sections.experiment.verdict import experiment_verdict
from engine_probe.report.sections.forward_passes import forward_pass_document
from engine_probe.report.sections.load.prediction import document_title, with_prediction
from engine_probe.report.sections.run.latencies import judgements, latency_table
from engine_probe.report.sections.run.verdict import headlines, run_verdict
from engine_probe.report.sections.sweep.verdict import sweep_verdict
from engine_probe.text_format import counted
from page_kit.html import Html, element, joined
from page_kit.line_chart import Frame, Series, chart
from page_kit.scale import Scale

POINTS = 320  # of a line, for 540 pixels
MOST_ROWS = 40
MOST_CHARTS = 2  # of a comparison: throughput and time to the first token
SOFT = "opacity:.72;font-size:12px;overflow-wrap:anywhere"
TITLE = "font-weight:600;margin-top:8px"
STYLES: dict[Tone, str] = {
    "plain": "",
    "soft": SOFT,
    "good": "border-left:3px solid #0aa56c;padding-left:8px",
    "caution": "border-left:3px solid #d98200;padding-left:8px",
    "problem": "border-left:3px solid #d64545;padding-left:8px",
}
FRAME = Frame(640, 190, 52, 44, 22, 34)
RIGHT = "text-align:right;padding:2px 12px 2px 0;white-space:nowrap"
LEFT = RIGHT.replace("right", "left", 1)


@singledispatch
def html_of(shown: object) -> str:
    """Draw an object as Jupyter shows it."""
    raise NotImplementedError(type(shown).__name__)


@html_of.register
def run_html(run: Run) -> str:
    """Return a run's view; a damaged or empty run is described, because a notebook cell must not end in a traceback."""
    title = document_title(run.model_name, [run])
    place = f"{run.status}, {run.folder}"
    try:
        return page_of(head(title, place), *run_parts(run, run.analysis()))
    except EngineProbeError as error:
        notes = (element("div", note, style=STYLES["problem"]) for note in run.notes)
        return page_of(head(title, place), *notes, element("div", str(error)))


def run_parts(run: Run, found: RunAnalysis) -> Iterator[Html]:
    yield from section_parts(with_prediction(run_verdict(found), [run]), [pressure(run)])
    rows = ", ".join(f"{name} ({getattr(run, name).num_rows:,} rows)" for name in TABLES)
    yield element("div", f"Tables: {rows}", style=SOFT)


@html_of.register
def passes_html(passes: ForwardPasses) -> str:
    document = forward_pass_document(passes)
    return page_of(element("b", document.title), *section_parts(document.verdict))


@html_of.register
def summary_html(summary: Summary) -> str:
    """Return what speaks against a summary, its headlines, its latencies, and how reliable they are."""
    doubts = (replace(sentence, tone="soft") for sentence in judgements(summary))
    sentences = (*says(summary.notes, "problem"), *headlines(summary), *says(recomputed(summary)))
    latencies = Section(sentences=sentences, tables=(latency_table(summary),))
    return page_of(*section_parts(latencies), *map(sentence_html, doubts))


def recomputed(summary: Summary) -> Iterator[str]:
    if summary.preemptions:
        share = f"{summary.recomputed_share:.1%} of all scheduled tokens were recomputed"
        yield f"{counted(summary.preemptions, 'preemption')}: {share}."


@html_of.register
def point_html(point: SweptPoint) -> str:
    """Return the view of a point's run, or the reason why it has none."""
    shown = element("div", point.reason) if point.run is None else Html(run_html(point.run))
    return page_of(element("div", element("b", point.name)), shown)


def head(title: str, below: str) -> Html:
    return element("div", element("b", title), element("div", below, style=SOFT))


def section_parts(section: Section, pictures: Iterable[Html] = ()) -> Iterator[Html]:
    """Yield a section without what is folded; the pictures stand between its sentences and its tables."""
    if section.figures:
        yield facts_row(section.figures)
    yield from map(sentence_html, section.sentences)
    yield from pictures
    yield from map(table, section.tables)
    for part in section.parts:
        yield element("div", part.title, style=TITLE)
        yield from map(sentence_html, part.sentences)


def facts_row(figures: Iterable[Figure]) -> Html:
    cells = (
        element("div", element("div", each.value, style="font-size:17px"), element("div", each.label, style=SOFT))
        for each in figures
    )
    return element("div", *cells, style="display:flex;flex-wrap:wrap;gap:4px 22px;margin:6px 0")


def sentence_html(sentence: Sentence) -> Html:
    label = element("b", f"{sentence.label}: ") if sentence.label else ""
    return element("div", label, sentence.text, style=STYLES[sentence.tone])


def pressure(run: Run) -> Html:
    """Return a chart of running and waiting requests and KV blocks; thinned to maxima, so that no peak is lost."""
    rows = run.iterations
    column = {name: rows[name].to_numpy() for name in ("start_ns", "running_requests")}
    levels = {
        "running": column["running_requests"],
        "waiting": waiting_requests(rows),
        "KV blocks in use": rows["kv_blocks_scheduled"].to_numpy() / run.facts["kv"]["blocks"] * 100,
    }
    few = thinned((column["start_ns"] - column["start_ns"][0]) / 1e9, levels, POINTS)
    seconds = few.seconds.tolist()
    pool = series("KV blocks in use", seconds, numbers(few.columns["KV blocks in use"]), 2, "area")
    lines = [
        replace(pool, right=True),
        series("running", seconds, numbers(few.columns["running"]), 0, "step"),
        series("waiting", seconds, numbers(few.columns["waiting"]), 1, "step"),
    ]
    time, requests = Scale("seconds", from_zero=True), Scale("requests", whole=True)
    return chart("running, waiting and KV over time", lines, time, requests, frame=FRAME, hover=True)


def series(label: str, xs: Sequence[float], values: Sequence[float | None], colour: int, style: str) -> Series:
    """Return a series without the places that have no value."""
    points = [(x, value, "") for x, value in zip(xs, values, strict=True) if value is not None]
    return Series(label, points, colour, style)


@html_of.register
def sweep_html(swept: Swept) -> str:
    title = document_title(swept.question, swept.runs)
    measured = curves(swept.points)
    verdict = with_prediction(sweep_verdict(swept, measured, tuple), swept.runs)
    charts = map(lines_chart, throughput_charts(measured))
    return page_of(head(title, str(swept.folder)), *section_parts(verdict, charts))


@html_of.register
def experiment_html(found: Experiment) -> str:
    """Return what each curve of an experiment comes to, and all of them in the charts that have room in a notebook."""
    runs = found.together.runs
    swept, measured = found.together, found.curves
    sizes = (chart for chart in across_charts(swept, measured) if chart.title in SATURATION_TITLES)
    charts = map(lines_chart, (*throughput_charts(measured), *sizes))
    verdict = with_prediction(experiment_verdict(found, measured, swept.first_runs, tuple), runs)
    return page_of(head(document_title(found.title, runs), ", ".join(found.sweeps)), *section_parts(verdict, charts))


@html_of.register
def suite_html(suite: Suite) -> str:
    """Return what is measured of a suite, and its sweeps in the order of its document."""
    body = [head(suite.state.shown_title, suite.state.source), *section_parts(suite_verdict(suite))]
    for number, section in enumerate(suite.state.sections):
        sweeps = suite.of_section(number)
        together = section.together and len(sweeps) > 1
        shown = [experiment_html(experiment(sweeps, section.title))] if together else map(sweep_html, sweeps.values())
        body += [element("div", section.title, style=TITLE), *map(Html, shown)]
    return page_of(*body)


@html_of.register
def comparison_html(comparison: Comparison) -> str:
    """Return what differs and what changed, with the curves of both sides if there are several loads."""
    names = short_names([comparison.before, comparison.after])
    charts = map(lines_chart, islice(compare_charts([comparison], names), MOST_CHARTS))
    changes = section_parts(changes_section(comparison), charts)
    title = element("b", f"{comparison.after} against {comparison.before}")
    return page_of(title, *section_parts(compare_verdict(comparison, ())), *changes)


@html_of.register
def trend_html(found: TrendOver) -> str:
    """Return what changed over the occasions, and the figures over them."""
    charts = map(lines_chart, islice(trend_charts(found), MOST_CHARTS))
    return page_of(
        element("b", f"{len(found.occasions)} measurements"), *section_parts(trend_verdict(found, ()), charts)
    )


def lines_chart(data: Lines) -> Html:
    """Draw a chart of a report in its plainest form: without intervals and repeats."""
    data = in_seconds(data)
    xs = [x for x in data.xs if x is not None]
    drawn = [series(each.label, xs, each.values, each.colour, each.style) for each in data.series]
    (axis, *_) = data.y
    y = Scale(axis.unit or axis.label)
    label = f"{data.x.label} ({data.x.unit})" if data.x.unit else data.x.label
    x = Scale(label, from_zero=True, whole=data.x.whole)
    title = element("div", data.title, style=TITLE)
    return joined((title, chart(data.title, drawn, x, y, data.regions, FRAME, hover=True)))


def table(data: Table) -> Html:
    """Return its first rows, without the columns that need room."""
    places_shown = [place for place, column in enumerate(data.columns) if column.room != "page"]

    def line(tag: str, cells: Sequence[str]) -> Html:
        places = [LEFT if data.columns[place].words else RIGHT for place in places_shown]
        if tag == "th":  # a title may take several lines, so that the table stays as wide as a cell
            places = [f"{place.replace('nowrap', 'normal')};vertical-align:bottom" for place in places]
        return element("tr", *(element(tag, cell, style=place) for cell, place in zip(cells, places, strict=True)))

    title = element("div", data.title, style=TITLE) if data.title else Html()
    titles = line("th", [data.columns[place].name for place in places_shown])
    body = (line("td", [cell_words(row[place]) for place in places_shown]) for row in data.rows[:MOST_ROWS])
    more = len(data.rows) - MOST_ROWS
    rest = element("div", f"and {more:,} more: .to_pandas() has all", style=SOFT) if more > 0 else Html()
    return joined((title, element("table", titles, *body, style="border-collapse:collapse;font-size:13px"), rest))


def page_of(*parts: str) -> Html:
    """Return a cell's output: it brings its own style, and nothing in it can leave it."""
    return element("div", joined(parts), style="max-width:760px;line-height:1.45;font-family:system-ui,sans-serif")
