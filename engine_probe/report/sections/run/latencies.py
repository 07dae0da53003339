"""The latencies of a run as a table, and what the summary says against itself."""

from __future__ import annotations

from collections.abc import Iterator

from engine_probe.analysis.run.latency_figures import PERCENTILES
from engine_probe.analysis.run.steady_state import SteadyState
from engine_probe.analysis.run.summary import Steadiness, Summary
from engine_probe.report.document import SURE, Column, Section, Sentence, Table, table
from engine_probe.text_format import duration, figures

FIRST = 5  # rows a terminal shows without --verbose: step, TTFT, TPOT, ITL, E2EL


def latency_table(summary: Summary) -> Table:
    steady = (Column(title, short=title.replace(" ", "\n")) for title in steady_titles(summary))
    titles: tuple[str | Column, ...] = (
        "",
        "n",
        "mean",
        *(f"p{percent}" for percent in PERCENTILES),
        *steady,
        Column("definition", words=True),
    )
    made = table(titles, latency_rows(summary))
    return Table(made.columns, made.rows, first=FIRST)


def steady_titles(summary: Summary) -> list[str]:
    """Name the columns for requests that arrived in the steady part, where there is one."""
    return [f"steady p{percent}" for percent in PERCENTILES if percent != 90] if summary.steady_latencies else []


def latency_rows(summary: Summary) -> Iterator[list[str]]:
    steady = {latency.name: latency.percentiles_ns for latency in summary.steady_latencies}
    for latency in (summary.step, *summary.latencies):
        percentiles = (duration(latency.percentiles_ns[percent]) for percent in PERCENTILES)
        apart = steady.get(latency.name, {})
        aside = (duration(apart.get(int(title.rpartition("p")[2]))) for title in steady_titles(summary))
        yield [latency.name, f"{latency.count:,}", duration(latency.mean_ns), *percentiles, *aside, latency.formula]


def reliability(summary: Summary) -> Section:
    """Say what the figures of a run rest on, and what the probe cost."""
    return Section(SURE, sentences=tuple(judgements(summary)))


def judgements(summary: Summary) -> Iterator[Sentence]:
    steady = summary.steadiness
    if steady is None and summary.steady is None:
        yield Sentence("No steady part: too few steps ran near peak concurrency.")
    if steady is not None:
        yield Sentence(steadiness_line(steady), "caution" if steady.unstable else "plain")
    if summary.steady:
        yield Sentence(steady_line(summary.steady, summary), "caution" if summary.steady.changing else "plain")
    if any(figure is None for latency in summary.latencies for figure in latency.percentiles_ns.values()):
        yield Sentence("Percentiles need enough values: p90 at least 10, p99 at least 100.")
    yield Sentence(
        f"The probe took {summary.probe_share:.2%} of the time by its own clock, "
        f"{duration(summary.probe_median_ns)} per step (median)."
    )


def steadiness_line(steady: Steadiness) -> str:
    return (
        f"{'UNSTABLE' if steady.unstable else 'steady'}: {steady.output_tokens_per_s:.1f} ± "
        f"{steady.output_tokens_per_s * steady.spread:.1f} tokens/s (± {steady.spread:.1%}) over the "
        f"{steady.seconds:.1f} s near peak concurrency"
    )


def steady_line(steady: SteadyState, summary: Summary) -> str:
    """Say its throughput beside the whole run's."""
    known = f" ± {figures(steady.half_width)}" if steady.half_width is not None else ""
    changing = "; throughput NEVER SETTLED" if steady.changing else ""
    return (
        f"Between warm-up and the last arrival, {steady.since_start_s:.1f} to "
        f"{steady.since_start_s + steady.seconds:.1f} s: {steady.output_tokens_per_s:,.1f}{known} tokens/s, "
        f"{figures(steady.requests_per_s)} requests/s (the whole run: {summary.output_tokens_per_s:,.1f} and "
        f"{figures(summary.requests_per_s)}){changing}"
    )
