"""The lines about a running sweep that a terminal and a log share."""

import math
import sys

from engine_probe.perplexity.scoring import Scoring
from engine_probe.recordings.live_reader import Moment
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.execution.events import BestSoFar, SearchEnded
from engine_probe.sweep.results.point_results import SKIPPED, PointResult, Row, Scored, Unmeasured, Unprobed
from engine_probe.text_format import duration
from engine_probe.workload.stop import FIRST_CHECK_SECONDS


def print_line(line: str) -> None:
    """Print a line on standard error in one write, so that a Ctrl-C cannot separate it from its end."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def live_line(point: Point, now: Moment) -> str:
    return f"{point.label}: {', '.join(live_figures(now))}"


def live_figures(now: Moment) -> list[str]:
    """Return the figures of the running point, the most important first: rate, latencies, requests, KV pool."""
    rate = now.output_tokens / now.seconds if now.seconds else 0.0
    counts = [f"{now.running} running", f"{now.waiting} waiting", f"KV {now.kv_share:.0%}"]
    preempted = [f"{now.preemptions} preempted"] if now.preemptions else []
    return [f"{rate:,.1f} tokens/s", *latency_figures(now), *counts, *preempted]


def latency_figures(now: Moment) -> list[str]:
    """Return TTFT and TPOT of the requests answered so far; before the first answer, the duration of a step."""
    answered = now.answered
    if not answered.requests:
        return [] if now.step_ns is None else [f"step {duration(now.step_ns)}"]
    medians = [("TTFT", answered.ttft_ns), ("TPOT", answered.tpot_ns)]
    figures = [f"{name} {duration(ns)}" for name, ns in medians if ns is not None]
    return [*figures[:-1], f"{figures[-1]} (p50 of {answered.requests:,})"] if figures else []


def scoring_line(point: Point, now: Scoring) -> str:
    perplexity = f": {math.exp(now.nll / now.tokens):.3f} so far" if now.tokens else ""
    return f"{point.label}{perplexity}, {now.done:,} of {now.windows:,} windows"


def result_line(result: Row) -> str:
    start = f"{result.point.label}:"
    if isinstance(result, Scored):
        return f"{start} {scored_words(result)}"
    if isinstance(result, Unmeasured):
        return f"{start} {result.reason}"
    if isinstance(result, Unprobed):
        return f"{start} {result.driven.seconds:.2f} s for {result.driven.steps:,} steps, probe off"
    changing = ", still changing" if result.still_changing else ""
    rate = f"{result.output_tokens_per_s:,.1f} tokens/s over {result.seconds:.1f} s"
    if result.replicas:
        rates = [replica.output_tokens_per_s for replica in result.replicas]
        rate = f"{rate}, {len(rates)} engines together ({min(rates):,.1f} to {max(rates):,.1f} each)"
    return f"{start} {rate}{changing}{ending(result)}"


def scored_words(result: Scored) -> str:
    if result.perplexity is None:
        return f"none: {result.not_finite_tokens:,} of {result.tokens:,} tokens have no finite probability"
    reach = "" if result.reach is None else f" ± {result.reach:.2g}"
    return f"{result.perplexity:.4f}{reach} over {result.tokens:,} tokens in {result.seconds:.1f} s"


def ending(result: PointResult) -> str:
    """Say why a point ended before everything was answered, and how steady it was. Empty for a usual end."""
    driven = result.driven
    if driven is None:
        return ""
    unanswered = driven.aborted + driven.never_handed_over
    early = f"; ended by stop.{driven.why}, {unanswered:,} requests unanswered" if driven.why != "answered" else ""
    if driven.steady is None:
        return early
    rate = driven.steady.rate
    if rate is None:
        short = result.seconds < FIRST_CHECK_SECONDS
        return f"{early}; {'too short to be judged steady' if short else 'never steady'}"
    begin = (rate.from_ns - driven.started_ns) / 1e9
    words = f"{rate.output_tokens_per_s:,.1f} ± {rate.relative:.1%} from {begin:.1f} s on"
    return f"{early}; steady: {words}" if driven.steady.reached else f"{early}; not steady: {words}"


def place_in(number: int, total: int) -> str:
    """Name a point by its number. `total` is 0 in a search, whose number of points is unknown."""
    return f"point {number + 1} of {total}" if total else f"point {number + 1}"


def found_line(event: SearchEnded | BestSoFar) -> str:
    """Say what a search found, and between which measured values it lies."""
    if isinstance(event, BestSoFar):
        return best_line(event)
    name, found = event.adaptive.axis.rpartition(".")[2], event.found
    start = f"{event.curve}: " if event.curve else ""
    if found.best is None:
        return f"{start}nothing found: {event.problem or f'not even {name} {found.below} meets the SLO'}"
    goal = "throughput saturates at" if event.adaptive.goal == "saturation" else "the SLO is met up to"
    tried = [f"{way} {value}" for way, value in (("above", found.above), ("below", found.below)) if value is not None]
    narrowed = f" (measured between: {', '.join(tried)})" if tried else ""
    high = f", highest at {found.highest}" if found.highest not in (None, found.best) else ""
    judged = {None: "", True: "; repeats confirm it", False: "; repeats do not settle it: chance may move it"}
    return f"{start}{goal} {name} {found.best}{high}{narrowed}{judged[found.sure]}"


def best_line(event: BestSoFar) -> str:
    """Say which setting is the best so far, and what it gains."""
    start = f"trial {event.trials} of {event.of}"
    if event.value is None:
        return f"{start}: no setting meets the limits so far"
    gain = "" if event.gain is None else f", {event.gain:+.0%} against the baseline"
    return f"{start}; best so far: {event.value:,.1f} {event.unit}{gain} ({event.setting})"


def mark_of(row: Row) -> str:
    if not isinstance(row, Unmeasured):
        return "[green]✓[/]"
    return "[dim]·[/]" if row.status == SKIPPED else "[red]✗[/]"
