"""A summary as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine_probe.analysis.run.goodput import Goodput
from engine_probe.analysis.run.latency_figures import PERCENTILES
from engine_probe.analysis.run.steady_state import SteadyState
from engine_probe.analysis.run.summary import Summary
from engine_probe.text_format import duration, figures, plain


def percent(share: float) -> str:
    """Whole percents; of less than one with two more digits."""
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.0%}"


def summary_view(summary: Summary) -> RenderableType:
    """The whole summary: what came out, how long things took, and what is to be said against it."""
    return Group(*(Text(line) for line in headlines(summary)), latency_table(summary), *judgements(summary))


def headlines(summary: Summary) -> Iterator[str]:
    others = "".join(f", {count} {plain(reason)}" for reason, count in sorted(summary.requests_other.items()))
    yield (
        f"{summary.output_tokens_per_s:.1f} output tokens/s over {summary.seconds:.1f} s: "
        f"{summary.output_tokens:,} tokens, {summary.requests_answered:,} requests answered{others}"
    )
    yield (
        f"running {summary.mean_running:.1f} on average, {summary.peak_running} at most; "
        f"waiting {summary.peak_waiting} at most; KV {summary.mean_kv_share:.0%} on average, "
        f"{summary.peak_kv_share:.0%} at most"
    )
    if summary.goodput:
        yield goodput_line(summary.goodput)
    if summary.preemptions:
        yield (
            f"{summary.preemptions:,} preemptions: {summary.recomputed_share:.1%} of all scheduled tokens "
            "had been computed before"
        )
    parts = ", ".join(f"{name} {share:.1%}" for name, share in summary.shares.items())
    yield f"{summary.iterations:,} steps; share of the time: {parts}"


def goodput_line(found: Goodput) -> str:
    if found.share is None:
        return f"Goodput with {found.slo}: no request could be judged"
    undecided = (
        f"; {found.undecided:,} could not be judged: aborted early, or of unknown arrival" if found.undecided else ""
    )
    return (
        f"goodput {figures(found.requests_per_s)} requests/s: {found.kept:,} of {found.judged:,} requests "
        f"({found.share:.1%}) met {found.slo} ms{undecided}"
    )


def steady_line(steady: SteadyState, summary: Summary) -> str:
    """Its throughput beside the whole run's."""
    known = f" ± {figures(steady.half_width)}" if steady.half_width is not None else ""
    changing = "; throughput NEVER SETTLED" if steady.changing else ""
    return (
        f"Between warm-up and the last arrival, {steady.since_start_s:.1f} to "
        f"{steady.since_start_s + steady.seconds:.1f} s: {steady.output_tokens_per_s:,.1f}{known} tokens/s, "
        f"{figures(steady.requests_per_s)} requests/s (the whole run: {summary.output_tokens_per_s:,.1f} and "
        f"{figures(summary.requests_per_s)}){changing}"
    )


def latency_table(summary: Summary) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for title in ("n", "mean", *(f"p{percent}" for percent in PERCENTILES)):
        table.add_column(title, justify="right", no_wrap=True)
    for title in steady_titles(summary):
        table.add_column(title.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("definition", style="dim")
    for row in latency_rows(summary):
        table.add_row(*row)
    return table


def steady_titles(summary: Summary) -> list[str]:
    """Columns for requests that arrived in the steady part, where there is one."""
    return [f"steady p{percent}" for percent in PERCENTILES if percent != 90] if summary.steady_latencies else []


def latency_rows(summary: Summary) -> Iterator[list[str]]:
    steady = {latency.name: latency.percentiles_ns for latency in summary.steady_latencies}
    for latency in (summary.step, *summary.latencies):
        percentiles = (duration(latency.percentiles_ns[percent]) for percent in PERCENTILES)
        apart = steady.get(latency.name, {})
        aside = (duration(apart.get(int(title.rpartition("p")[2]))) for title in steady_titles(summary))
        yield [latency.name, f"{latency.count:,}", duration(latency.mean_ns), *percentiles, *aside, latency.formula]


def judgements(summary: Summary) -> Iterator[Text]:
    """The summary on itself: what it rests on, and what watching cost."""
    steady = summary.steadiness
    if steady is None and summary.steady is None:
        yield Text("No steady part: too few steps ran near peak concurrency.", style="yellow")
    if steady is not None:
        word = Text("UNSTABLE", style="bold red") if steady.unstable else Text("steady", style="green")
        yield Text.assemble(
            word,
            f": {steady.output_tokens_per_s:.1f} ± {steady.output_tokens_per_s * steady.spread:.1f} tokens/s "
            f"(± {steady.spread:.1%}) over the {steady.seconds:.1f} s near peak concurrency",
        )
    if summary.steady:
        yield Text(steady_line(summary.steady, summary), "yellow" if summary.steady.changing else "")
    if any(figure is None for latency in summary.latencies for figure in latency.percentiles_ns.values()):
        yield Text("Percentiles need enough values: p90 at least 10, p99 at least 100.", "dim")
    yield Text(
        f"The probe took {summary.probe_share:.2%} of the time by its own clock, "
        f"{duration(summary.probe_median_ns)} per step (median).",
        "dim",
    )
    for note in summary.notes:
        yield Text(plain(note), style="bold red")


def print_summary(summary: Summary, console: Console) -> None:
    console.print(summary_view(summary), soft_wrap=False)
