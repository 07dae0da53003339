"""The page of a sweep: where the knee is, its levels and curves, and each point below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.regions import MEANINGS, letter
from engine_probe.evaluation.costs import Money
from engine_probe.evaluation.published import beside
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.charts.levels import by_load, limits_cell, rate_and_latencies, repeats_note
from engine_probe.report.charts.models import across_charts
from engine_probe.report.charts.money import money_charts
from engine_probe.report.charts.sweep import sweep_charts, throughput_charts
from engine_probe.report.findings import sweep_verdicts
from engine_probe.report.renderers.html_elements import Html, element, grid, joined, says, tiles
from engine_probe.report.renderers.html_page import Page, heading
from engine_probe.report.run_report import POINTS, origin, run_body
from engine_probe.report.sections.advice import advice_section, advised
from engine_probe.report.sections.ceiling_warnings import sweep_doubts, sweep_warnings
from engine_probe.report.sections.gpu_health import health_words
from engine_probe.report.sections.load_effect import effect_table, load_effects
from engine_probe.report.sections.money import money_section
from engine_probe.report.sections.precision import precision_section
from engine_probe.report.sections.prefix_cache import cache_cell, cache_verdict, worth_a_column
from engine_probe.report.sections.published import drawn_beside, reference_section
from engine_probe.report.sections.settings import LOADS, settings
from engine_probe.report.sections.slo import offers, slo_charts, slo_verdicts

LEAST_POINTS = 300


def sweep_page(swept: Swept, curves: Sequence[Curve], money: Money) -> str:
    page = Page(f"engine_probe: {swept.question}")
    body = joined(sweep_body(page, swept, curves, money))
    below = f"{len(swept.points)} points in {swept.folder}"
    if not swept.runs:
        return page.document(heading(swept.question, below), body)
    first = {label: next((point.run for point in points if point.run), None) for label, points in swept.curves.items()}
    engines = {label: run for label, run in first.items() if run}
    models = ", ".join(dict.fromkeys(run.model_name for run in engines.values()))
    below += f"; {models}, {origin(swept.runs[0])}"
    return page.document(heading(swept.question, below), body, settings(engines, LOADS))


def sweep_body(page: Page, swept: Swept, curves: Sequence[Curve], money: Money) -> Iterator[Html]:
    """First where growth ends, in words and in a picture; then what to do about it; the details below."""
    yield from (element("div", said, class_="warning") for said in swept.unmeasured)
    measured = [point.anatomy for point in swept.points if point.anatomy]
    yield from (element("div", warning, class_="warning red") for warning in sweep_warnings(measured))
    yield from (element("div", doubt, class_="warning") for doubt in sweep_doubts(measured))
    telling = [curve for curve in curves if curve.worth_words or len(curves) == 1]
    published = beside(swept.reference, swept, curves) if swept.reference else []
    compared = [page.figure(drawn_beside(chart, published)) for chart in throughput_charts(curves)]
    if len(telling) > 1:  # what compares them, before what is to be said of each
        yield joined(compared)
    for curve in telling:
        yield element("h2", curve.label) if curve.label else Html()
        yield tiles(curve_tiles(curve))
        told = (*sweep_verdicts(curve.found, curve.unit), *cache_verdict(curve), *slo_verdicts(curve))
        yield says([*told, *repeats_note(curve.figures)])
    if swept.unwatched_lines:
        yield says(swept.unwatched_lines)
    yield from precision_section(page, swept)
    if len(telling) <= 1:
        yield joined(compared)
    yield level_grid(curves)
    yield element("p", " ".join(f"{meaning}." for meaning in MEANINGS.values()), class_="soft")
    yield says(offers(swept, curves))
    yield advice_section(advised(swept, curves))
    for chart in (*slo_charts(curves), *sweep_charts(swept, curves), *across_charts(swept, curves)):
        yield page.figure(drawn_beside(chart, published))
    for curve in telling:
        yield effect_table(load_effects(swept.curves[curve.label], swept.scores), curve.label)
    if cards := list(health_words(swept.runs)):
        yield joined((element("h2", "The cards meanwhile"), says(cards)))
    if swept.reference and swept.reference.figures:
        yield reference_section(swept.reference, published)
    yield money_section(money)
    yield from map(page.figure, money_charts(money))
    yield element("section", element("h2", "Each point"), *each_point(page, swept), class_="each")


def each_point(page: Page, swept: Swept) -> Iterator[Html]:
    """Closed until somebody asks; repeats of one level together."""
    whole = [point for point in swept.points if point.anatomy]
    places = {label: place for place, label in enumerate(swept.curves)}
    for point in sorted(whole, key=lambda each: (places[each.label], each.load)):
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
        yield "limited most by, there", best.limits.main_with_doubt


MEANS = ("output tokens/s", "TTFT p50", "TPOT p50")
COUNTS = ("running mean", "waiting peak", "KV peak", "preempted", "computed twice")


def level_grid(curves: Sequence[Curve]) -> Html:
    """A row for each load; columns that would say nothing are left out."""
    cached, labelled = worth_a_column(curves), any(curve.label for curve in curves)
    columns = rate_and_latencies([curve.figures for curve in curves])
    reaches = (told.reach.replace(" ", "") for told in columns)  # not torn apart at the end of a line
    means = (f"{title} {reach}".rstrip() for title, reach in zip(MEANS, reaches, strict=True))
    units = {curve.unit for curve in curves}
    load = units.pop() if len(units) == 1 else "load"
    titles = [
        load,
        *means,
        *COUNTS,
        *["from prefix cache"] * cached,
        "limited most by",
        "region",
        *["settings"] * labelled,
    ]
    levels = [(curve, same) for curve in curves for same in by_load(curve.figures)]
    rows = (
        [
            f"{same[0].load:g}{'' if load == curve.unit else ' ' + curve.unit.removeprefix('requests ')}",
            *told,
            *level_row(same),
            *[cache_cell(same)] * cached,
            limits_cell(same),
            letter(curve.found, same[0].load),
            *[curve.label] * labelled,
        ]
        for (curve, same), *told in zip(levels, *(each.cells for each in columns), strict=True)
    )
    return grid(titles, rows, text=(0, *range(titles.index("limited most by"), len(titles))))


def level_row(same: Sequence[PointFigures]) -> list[str]:
    """One load, over its repeats."""
    return [
        f"{mean(each.summary.mean_running for each in same):.1f}",
        f"{max(each.summary.peak_waiting for each in same):,}",
        f"{max(each.summary.peak_kv_share for each in same):.0%}",
        f"{mean(each.summary.preemptions for each in same):,.4g}",
        f"{mean(each.summary.recomputed_share for each in same):.1%}",
    ]
