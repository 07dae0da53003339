"""One self-contained page for a run or a sweep: it loads nothing, and a policy in it forbids that it ever does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

import msgspec

from engine_probe.analysis.anatomy import Anatomy
from engine_probe.analysis.limits import LIMITS
from engine_probe.analysis.points import PointFigures
from engine_probe.analysis.regions import MEANINGS, letter
from engine_probe.analysis.summary import PERCENTILES
from engine_probe.errors import InputError
from engine_probe.report.across_charts import across_charts
from engine_probe.report.advice_view import advice_section, advised
from engine_probe.report.ceilings import ceilings
from engine_probe.report.charts import Chart
from engine_probe.report.html import Html, element, grid, joined, says, tiles
from engine_probe.report.levels import by_load, duration_cell, limits_cell, mean_cell, repeats_note
from engine_probe.report.load_effect import effect_table, load_effects
from engine_probe.report.memory_view import memory_figure, memory_words
from engine_probe.report.money import Money
from engine_probe.report.money_charts import money_charts
from engine_probe.report.money_view import money_section
from engine_probe.report.plain import model_name
from engine_probe.report.prefix_cache_view import cache_cell, cache_verdict, worth_a_column
from engine_probe.report.reference_view import drawn_beside, reference_section
from engine_probe.report.references import beside
from engine_probe.report.roofline_view import roofline_chart, roofline_tiles, roofline_words
from engine_probe.report.run_charts import run_charts
from engine_probe.report.slo_view import offers, slo_charts, slo_verdicts
from engine_probe.report.sweep_charts import Curve, sweep_charts
from engine_probe.report.swept import Swept, SweptPoint
from engine_probe.report.telemetry_charts import telemetry_charts
from engine_probe.report.terminal import duration, headlines, judgements, latency_rows, steady_titles
from engine_probe.report.verdicts import run_verdicts, sweep_verdicts
from engine_probe.run import Run

ASSETS = Path(__file__).parent / "assets"
POINTS = 4000  # moments of a line; shared by the points of a sweep
LEAST_POINTS = 300
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


class Page:
    """Collects charts while the body is written, and puts both into one document."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._charts: list[Chart] = []

    def figure(self, chart: Chart) -> Html:
        self._charts.append(chart)
        place = element("div", class_="plot", data_chart=str(len(self._charts) - 1), role="img", aria_label=chart.title)
        return element("figure", element("h3", chart.title), element("figcaption", chart.note), place)

    def document(self, *body: str) -> str:
        # In a script element only "</" and "<!--" could end the data early.
        data = msgspec.json.encode(self._charts).decode().replace("<", "\\u003c")
        style = Html(asset("uPlot.min.css") + asset("page.css"))
        head = element(
            "head",
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            element("title", self._title),
            element("style", style),
        )
        scripts = (
            element("script", Html(data), id="charts", type="application/json"),
            element("script", Html(f"/*\n{asset('uPlot.LICENSE')}*/\n{asset('uPlot.iife.min.js')}")),
            element("script", Html(asset("page.js"))),
        )
        return (
            f"<!doctype html>\n{element('html', head, element('body', element('main', *body), *scripts), lang='en')}\n"
        )


def asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def heading(title: str, below: str) -> Html:
    switch = element("button", "light / dark", id="theme", type="button")
    return element("header", element("h1", title), switch, element("div", below, class_="soft"))


def run_page(run: Run, found: Anatomy, money: Money | None = None) -> str:
    page = Page(f"engine_probe: {model_name(run)}")
    body = joined((*run_body(page, run, found, POINTS), money_section(money) if money else ""))
    return page.document(heading(model_name(run), origin(run)), body, settings(run))


def origin(run: Run) -> str:
    versions, clock = run.facts["versions"], run.facts["clock"]
    return f"vLLM {versions['vllm']} ({versions['distribution']}), recorded {clock['wall'][:19]} UTC in {run.folder}"


def run_body(page: Page, run: Run, found: Anatomy, points: int) -> Iterator[Html]:
    summary = found.summary
    for note in summary.notes:
        yield element("div", note, class_="warning")
    figures = [("output tokens/s", f"{summary.output_tokens_per_s:,.1f}")]
    medians = {latency.name: latency.percentiles_ns[50] for latency in summary.latencies}
    figures += [(f"{name}, median", duration(medians[name])) for name in ("TTFT", "TPOT")]
    figures += [("KV blocks in use, at most", f"{summary.peak_kv_share:.0%}")]
    figures += [("preemptions", f"{summary.preemptions:,}")]
    figures += [("limited most by", found.limits.main), *roofline_tiles(found.roofline)]
    yield tiles(figures)
    judged = (line.plain for line in judgements(summary) if line.plain not in summary.notes)
    hardware = [*memory_words(run.facts, summary), *roofline_words(found.roofline)]
    yield says([*run_verdicts(found), *headlines(summary), *judged, *hardware])
    yield limit_table(found)
    yield from memory_figure(run.facts, summary)
    for chart in run_charts(run, found.limits, run.folder.name, points):
        yield page.figure(chart)
    yield from map(page.figure, roofline_chart(found.roofline))
    yield from meanwhile(page, run)
    titles = ["", "n", "mean", *(f"p{percent}" for percent in PERCENTILES), *steady_titles(summary), "from what"]
    yield joined((element("h3", "Latencies"), grid(titles, latency_rows(summary), text=(0, len(titles) - 1))))
    if found.tax.worst:
        worst = ([each.request_id, f"{each.preemptions:,}", duration(each.away_ns)] for each in found.tax.worst)
        yield joined((element("h3", "Longest away by preemption"), grid(["request", "preemptions", "away"], worst)))


def meanwhile(page: Page, run: Run) -> Iterator[Html]:
    """Telemetry; where it is damaged the rest of the page is none the worse."""
    try:
        telemetry = run.telemetry
    except InputError as error:
        yield element("div", str(error), class_="warning")
        return
    for chart in telemetry_charts(telemetry, int(run.iterations["start_ns"][0].as_py()), run.folder.name):
        yield page.figure(chart)


def limit_table(found: Anatomy) -> Html:
    rows = [
        [limit.name, f"{found.limits.shares[limit.name]:.1%}", limit.meaning, limit.rule]
        for limit in LIMITS
        if found.limits.shares[limit.name]
    ]
    table = grid(["limit", "of busy time", "meaning", "rule, per step"], rows, text=(0, 2, 3))
    return joined((element("h3", "What limits"), table))


def settings(run: Run) -> Html:
    kv, limits = run.facts["kv"], run.facts["limits"]
    rows = [
        ["model", run.facts["model"]["name"]],
        ["KV pool", f"{kv['blocks']:,} blocks of {kv['block_size_tokens']} tokens, {kv['bytes'] / 2**20:,.1f} MiB"],
        ["batch", f"max_num_seqs {limits['max_num_seqs']:,}, {limits['max_num_batched_tokens']:,} tokens a step"],
        ["executor", f"{run.facts['engine']['executor']}, scheduler {run.facts['engine']['scheduler']}"],
        ["host", run.facts["process"]["host"]],
    ]
    told = grid(["what", "value"], rows, text=(0, 1))
    return joined((element("h2", "Settings"), told, ceilings(run.facts)))


def sweep_page(swept: Swept, curves: Sequence[Curve], money: Money) -> str:
    page = Page(f"engine_probe: {swept.question}")
    body = joined(sweep_body(page, swept, curves, money))
    first = next((point.run for point in swept.points if point.run), None)
    below = f"{len(swept.points)} points in {swept.folder}" + (
        f"; {model_name(first)}, {origin(first)}" if first else ""
    )
    return page.document(heading(swept.question, below), body, settings(first) if first else "")


def sweep_body(page: Page, swept: Swept, curves: Sequence[Curve], money: Money) -> Iterator[Html]:
    for point in swept.points:
        if point.anatomy is None:
            yield element("div", f"{point.name} was not measured: {point.reason}", class_="warning")
    for curve in curves:
        if curve.worth_words or len(curves) == 1:
            yield element("h2", curve.label) if curve.label else Html()
            yield tiles(curve_tiles(curve))
            told = (*sweep_verdicts(curve.found, curve.unit), *cache_verdict(curve), *slo_verdicts(curve))
            yield says([*told, *repeats_note(curve.figures)])
    yield advice_section(advised(swept, curves))
    yield level_grid(curves)
    yield element("p", " ".join(f"{meaning}." for meaning in MEANINGS.values()), class_="soft")
    yield says(offers(swept, curves))
    published = beside(swept.reference, swept, curves) if swept.reference else []
    for chart in (*slo_charts(curves), *sweep_charts(swept, curves), *across_charts(swept, curves)):
        yield page.figure(drawn_beside(chart, published))
    for curve in curves:
        if curve.worth_words or len(curves) == 1:
            yield effect_table(load_effects(swept.curves[curve.label], swept.scores), curve.label)
    if swept.reference:
        yield reference_section(swept.reference, published)
    yield money_section(money)
    for chart in money_charts(money):
        yield page.figure(chart)
    yield element("h2", "Each point")
    whole = [point for point in swept.points if point.anatomy]
    for point in whole:
        assert point.run is not None
        assert point.anatomy is not None
        points = max(LEAST_POINTS, POINTS // len(whole))
        title = element("summary", told_apart(point, whole))
        yield element("details", title, *run_body(page, point.run, point.anatomy, points))


def told_apart(point: SweptPoint, points: Sequence[SweptPoint]) -> str:
    """Its name, and which of its repeats it is."""
    alike = [each.id for each in points if each.name == point.name]
    return point.name if len(alike) == 1 else f"{point.name}, {alike.index(point.id) + 1} of {len(alike)}"


def curve_tiles(curve: Curve) -> Iterator[tuple[str, str]]:
    """Where the knee is, at a glance."""
    found = curve.found
    if found.best:
        yield f"highest output tokens/s, at {found.best.load:g}", f"{found.best.output_tokens_per_s:,.1f}"
    if found.saturation:
        low, high = found.saturation.low, found.saturation.high
        about = f"{low:g} to {high:g}" if high > low else f"{found.saturation.load:g}"
        yield f"{curve.unit}: growth ends", about
    if found.kv.reached is not None:
        yield f"{curve.unit}: waiting for KV blocks begins", f"{found.kv.reached:g}"
    if found.best and curve.figures:
        (best, *_) = (figures for figures in curve.figures if figures.load == found.best.load)
        yield "limited most by, there", best.limits.main


LEVEL_TITLES = (
    *("load", "output tokens/s", "TTFT p50", "TPOT p50", "running mean", "waiting peak", "KV peak", "preempted"),
    "computed twice",
)


def level_grid(curves: Sequence[Curve]) -> Html:
    """A row for each load; columns that would say nothing are left out."""
    cached, labelled = worth_a_column(curves), any(curve.label for curve in curves)
    titles = [*LEVEL_TITLES, *["from prefix cache"] * cached, "limited most by", "region", *["settings"] * labelled]
    rows = (
        [
            *level_row(curve, same),
            *[cache_cell(same)] * cached,
            limits_cell(same),
            letter(curve.found, same[0].load),
            *[curve.label] * labelled,
        ]
        for curve in curves
        for same in by_load(curve.figures)
    )
    return grid(titles, rows, text=(0, *range(titles.index("limited most by"), len(titles))))


def level_row(curve: Curve, same: Sequence[PointFigures]) -> list[str]:
    """One load, over its repeats."""
    return [
        f"{same[0].load:g} {curve.unit.removeprefix('requests ')}",
        mean_cell(same, lambda each: each.summary.output_tokens_per_s, "{:,.1f}".format),
        duration_cell(same, "TTFT", 50),
        duration_cell(same, "TPOT", 50),
        f"{mean(each.summary.mean_running for each in same):.1f}",
        f"{max(each.summary.peak_waiting for each in same):,}",
        f"{max(each.summary.peak_kv_share for each in same):.0%}",
        f"{mean(each.summary.preemptions for each in same):,.4g}",
        f"{mean(each.summary.recomputed_share for each in same):.1%}",
    ]
