"""The latencies of a run as a table, and what the summary says against itself."""

from collections.abc import Iterator

from engine_probe.analysis.run.after_warm_up import AfterWarmUp
from engine_probe.analysis.run.latency_figures import PERCENTILES
from engine_probe.analysis.run.near_peak import PARTS, NearPeak
from engine_probe.analysis.run.summary import Summary
from engine_probe.report.document import Cell, Column, Sentence, Table, table
from engine_probe.text_format import counted, duration, figures, rate_words

FIRST = 5  # rows a terminal shows without --verbose: step, TTFT, TPOT, ITL, E2EL


def latency_table(summary: Summary) -> Table:
    later = (Column(title, short=title.replace(" ", "\n")) for title in later_titles(summary))
    titles: tuple[str | Column, ...] = (
        "",
        "n",
        "mean",
        *(f"p{percent}" for percent in PERCENTILES),
        Column("largest", room="spare"),
        *later,
        Column("definition", words=True, room="spare"),
    )
    return table(titles, latency_rows(summary), first=FIRST)


def later_titles(summary: Summary) -> list[str]:
    """Name the columns for requests that arrived after the warm-up, if there are any."""
    percents = [percent for percent in PERCENTILES if percent != 90]
    return [f"after warm-up p{percent}" for percent in percents] if summary.after_warm_up_latencies else []


def latency_rows(summary: Summary) -> Iterator[list[Cell | str]]:
    later = {latency.name: latency.percentiles_ns for latency in summary.after_warm_up_latencies}
    for latency in (summary.step, *summary.latencies):
        percentiles = (
            Cell(duration(ns := latency.percentiles_ns[percent]), below=reach(summary, latency.name, percent, ns))
            for percent in PERCENTILES
        )
        apart = later.get(latency.name, {})
        aside = (duration(apart.get(int(title.rpartition("p")[2]))) for title in later_titles(summary))
        mean, largest = duration(latency.mean_ns), duration(latency.largest_ns)
        yield [latency.name, f"{latency.count:,}", mean, *percentiles, largest, *aside, latency.formula]


def reach(summary: Summary, latency: str, percent: int, ns: float | None) -> str:
    """Return how far from a predicted percentile nine of ten measurements lie at most; "" of what was measured."""
    if latency == "step":
        return ""
    found = summary.interval(f"{latency} p{percent}", ns)
    return f"± {found[1] / ns - 1:.0%}" if found and ns else ""


def judgements(summary: Summary) -> Iterator[Sentence]:
    """Say what the figures of a run rest on, and what the probe cost."""
    peak, later = summary.near_peak, summary.after_warm_up
    if peak is None and later is None:
        yield Sentence("Too few steps ran near peak concurrency to say how stable the throughput was.")
    if peak is not None:
        yield Sentence(near_peak_line(peak), "caution" if peak.unstable else "plain")
    if later is not None:
        doubtful = later.changing or later.differs_from(summary.output_tokens_per_s)
        yield Sentence(after_warm_up_line(later, summary), "caution" if doubtful else "plain")
    if any(figure is None for latency in summary.latencies for figure in latency.percentiles_ns.values()):
        yield Sentence("Percentiles need enough values: p90 at least 10, p99 at least 100.")
    yield Sentence(probe_cost_line(summary))


def probe_cost_line(summary: Summary) -> str:
    """Return the cost of the probe by its own clock, and in all where that was measured on the same machine."""
    own = (
        f"The probe took {summary.probe_share:.2%} of the time by its own clock, "
        f"{duration(summary.probe_median_ns)} per step (median)"
    )
    rest = summary.probe_uncounted
    if rest is None:
        return f"{own}; what that clock leaves out is not known (`engine_probe overhead` measures it)."
    return (
        f"{own}; with what that clock does not count, {rest.ns / 1e3:.1f} ± {rest.half_width_ns / 1e3:.1f} µs per step "
        f"(`engine_probe overhead` on this machine, {rest.running} running), "
        f"{summary.probe_share + rest.share:.2%} ± {rest.half_width:.2%}."
    )


def near_peak_line(peak: NearPeak) -> str:
    median, reach = rate_words(peak.median_per_s), rate_words(peak.median_per_s * peak.spread)
    return (
        f"{'UNSTABLE' if peak.unstable else 'Stable'} near peak concurrency ({peak.seconds:.1f} s): "
        f"{rate_words(peak.output_tokens_per_s)} tokens/s; median of {PARTS} equal parts {median} ± {reach} (half the "
        f"interquartile range, {peak.spread:.1%})"
    )


def after_warm_up_line(later: AfterWarmUp, summary: Summary) -> str:
    """Return the throughput after the warm-up beside that of the whole run."""
    return (
        f"Between warm-up and the last arrival, {later.since_start_s:.1f} to "
        f"{later.since_start_s + later.seconds:.1f} s: {rate_words(later.output_tokens_per_s)}{interval_words(later)}, "
        f"{figures(later.requests_per_s)} requests/s (the whole run: {rate_words(summary.output_tokens_per_s)} and "
        f"{figures(summary.requests_per_s)}){changing_words(later)}"
    )


def interval_words(later: AfterWarmUp) -> str:
    """Return the interval and the unit of a throughput; an interval wider than the figure is only said to be so."""
    if later.half_width is None:
        return " tokens/s"
    if later.half_width < later.output_tokens_per_s:
        return f" ± {rate_words(later.half_width)} tokens/s"
    return f" tokens/s (of {counted(later.arrivals, 'arrival')}; the interval is wider than the figure)"


def changing_words(later: AfterWarmUp) -> str:
    if not later.changing:
        return ""
    if later.warm_up_left is None:
        return "; throughput NEVER SETTLED"
    way, off = ("falling", "high") if later.warm_up_left > 0 else ("rising", "low")
    amount = figures(abs(later.warm_up_left))
    return f"; throughput STILL {way.upper()}: up to {amount} tokens/s too {off} if it goes on {way} as it began"
