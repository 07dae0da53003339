"""The page of one run, and the part that each point of a sweep's page has in common with it."""

from __future__ import annotations

from collections.abc import Iterator

from engine_probe.analysis.run.latency_figures import PERCENTILES
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.step.bottleneck import LIMITS
from engine_probe.errors import InputError
from engine_probe.evaluation.costs import Money
from engine_probe.recordings.run import Run
from engine_probe.report.charts.requests import request_charts
from engine_probe.report.charts.run import load_charts, origin_ns, step_charts
from engine_probe.report.charts.telemetry import telemetry_charts
from engine_probe.report.findings import run_verdicts
from engine_probe.report.renderers.html_elements import Html, element, grid, joined, says, tiles
from engine_probe.report.renderers.html_page import Page, heading
from engine_probe.report.sections.ceiling_warnings import ceiling_warnings
from engine_probe.report.sections.gpu_health import health_words, reduced_strip
from engine_probe.report.sections.memory import memory_figure, memory_words
from engine_probe.report.sections.money import money_section
from engine_probe.report.sections.roofline import roofline_chart, roofline_tiles, roofline_words
from engine_probe.report.sections.settings import settings
from engine_probe.report.summary import headlines, judgements, latency_rows, steady_titles
from engine_probe.text_format import duration

POINTS = 4000  # moments of a line; shared by the points of a sweep


def run_page(run: Run, found: RunAnalysis, money: Money | None = None) -> str:
    page = Page(f"engine_probe: {run.model_name}")
    body = joined((*run_body(page, run, found, POINTS), money_section(money) if money else ""))
    return page.document(heading(run.model_name, origin(run)), body, settings({"": run}))


def origin(run: Run) -> str:
    versions, clock = run.facts["versions"], run.facts["clock"]
    return f"vLLM {versions['vllm']} ({versions['distribution']}), recorded {clock['wall'][:19]} UTC in {run.folder}"


def run_body(page: Page, run: Run, found: RunAnalysis, points: int) -> Iterator[Html]:
    """What it came to, what happened when, what single requests saw, and the hardware below; at least one step long."""
    summary, name = found.summary, run.folder.name
    for note in summary.notes:
        yield element("div", note, class_="warning")
    for warning in ceiling_warnings(found.roofline):
        yield element("div", warning, class_="warning red")
    yield tiles(run_tiles(found))
    yield says([*run_verdicts(found), *headlines(summary)])
    yield from map(page.figure, load_charts(run, found.limits, name, points))
    yield limit_table(found)
    yield from map(page.figure, request_charts(run, name, points))
    if found.tax.worst:
        worst = ([each.request_id, f"{each.preemptions:,}", duration(each.away_ns)] for each in found.tax.worst)
        yield section("Longest away by preemption", grid(["request", "preemptions", "away"], worst))
    titles = ["", "n", "mean", *(f"p{percent}" for percent in PERCENTILES), *steady_titles(summary), "definition"]
    judged = says(line.plain for line in judgements(summary) if line.plain not in summary.notes)
    yield section("Latencies", grid(titles, latency_rows(summary), text=(0, len(titles) - 1)), judged)
    yield from map(page.figure, step_charts(run, name, points))
    yield from map(page.figure, roofline_chart(found.roofline))
    yield says(roofline_words(found.roofline))
    yield from memory_figure(run.facts, summary)
    yield says(memory_words(run.facts, summary))
    yield from meanwhile(page, run)


def run_tiles(found: RunAnalysis) -> Iterator[tuple[str, str]]:
    summary = found.summary
    yield "output tokens/s", f"{summary.output_tokens_per_s:,.1f}"
    medians = {latency.name: latency.percentiles_ns[50] for latency in summary.latencies}
    yield from ((f"{name}, median", duration(medians[name])) for name in ("TTFT", "TPOT"))
    yield "KV blocks in use, at most", f"{summary.peak_kv_share:.0%}"
    yield "preemptions", f"{summary.preemptions:,}"
    yield "limited most by", found.limits.main_with_doubt
    yield from roofline_tiles(found.roofline)


def section(title: str, *parts: Html) -> Html:
    return joined((element("h3", title), *parts))


def meanwhile(page: Page, run: Run) -> Iterator[Html]:
    """Telemetry; where it is damaged the rest of the page is none the worse."""
    try:
        telemetry = run.telemetry
    except InputError as error:
        yield element("div", str(error), class_="warning")
        return
    yield says(health_words([run]))
    yield from map(page.figure, reduced_strip(telemetry, origin_ns(run), run.folder.name))
    yield from map(page.figure, telemetry_charts(telemetry, origin_ns(run), run.folder.name))


def limit_table(found: RunAnalysis) -> Html:
    rows = [
        [limit.name, f"{found.limits.shares[limit.name]:.1%}", limit.meaning, limit.rule]
        for limit in LIMITS
        if found.limits.shares[limit.name]
    ]
    table = grid(["limit", "of busy time", "meaning", "rule, per step"], rows, text=(0, 2, 3))
    return section("What limits", table)
