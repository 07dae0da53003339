"""The charts of one run over time: load, limits, throughput, and the duration of steps."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.run.timeline import Pace, Thinned, pace, stretches, thinned
from engine_probe.analysis.run.token_times import update_end_ns, waiting_requests
from engine_probe.analysis.step.bottleneck import AND, LimitsFound
from engine_probe.analysis.step.stalls import UNKNOWN, Stalls
from engine_probe.recordings.forward_passes import ForwardPasses
from engine_probe.recordings.run import Run
from engine_probe.report.charts.model import Axis, Chart, Lines, Series, Spans, moments, numbers

MOST_STRETCHES = 1000
TIME = Axis("time", "s")
FORWARD_PASSES = "forward passes"  # their charts share cursor and zoom
PASS_POINTS = 4000  # moments of a line


def load_charts(run: Run, limits: LimitsFound, name: str, points: int) -> Iterator[Chart]:
    """Yield the charts of load, limits and throughput; a line has at most `points` points."""
    iterations = run.iterations
    blocks, answers = run.facts["kv"]["blocks"], run.requests.num_rows
    levels = {
        "running": iterations["running_requests"].to_numpy(),
        "waiting": waiting_requests(iterations),
        "kv": iterations["kv_blocks_scheduled"].to_numpy() / blocks * 100,
    }
    if answers:
        finished = iterations["finished_requests"].to_numpy()
        levels["answered"] = np.cumsum(finished, dtype=np.int64) / answers * 100
    yield pressure(thinned(scheduled_s(run), levels, points), name)
    yield limit_strip(run, limits, name)
    if output := pace(iterations, blocks):
        yield throughput(output, name)
        yield against_kv(output)


def step_charts(run: Run, name: str, points: int) -> Iterator[Chart]:
    parts = {part: run.iterations[f"{part}_ns"].to_numpy() / 1e6 for part in ("execute", "schedule", "update", "gap")}
    yield step_parts(thinned(scheduled_s(run), parts, points), name)


def origin_ns(run: Run) -> int:
    """Return the time of the first step, where all charts of a run begin."""
    return int(run.iterations["start_ns"][0].as_py())


def scheduled_s(run: Run) -> npt.NDArray[np.float64]:
    """Return the end of each step's schedule(), from which on its counts hold."""
    done = run.iterations["start_ns"].to_numpy() + run.iterations["schedule_ns"].to_numpy()
    seconds: npt.NDArray[np.float64] = (done - origin_ns(run)) / 1e9
    return seconds


def thinning_note(points: Thinned) -> str:
    if points.steps_each == 1:
        return "Every step is drawn."
    return f"Lines are means over {points.steps_each:,} steps, shades extend from the least to the most of them."


def pressure(points: Thinned, name: str) -> Lines:
    labels = {"running": ("running", 0, 0), "waiting": ("waiting", 0, 1), "kv": ("KV blocks in use", 1, 2)}
    labels["answered"] = ("answered", 1, 4)
    return Lines(
        title="Admission, queueing and memory pressure",
        note=f"Running and waiting requests after each schedule(); share of KV blocks in use and of requests answered. "
        f"{thinning_note(points)}",
        x=TIME,
        y=[Axis("requests", whole=True), Axis("share", "%")],
        xs=moments(points.seconds),
        series=[line for key in points.columns for line in shaded(points, key, *labels[key])],
        sync=name,
    )


def shaded(points: Thinned, key: str, label: str, axis: int, colour: int) -> Iterator[Series]:
    """Yield a value that holds until the next step; with several steps in a point, their mean and their extremes."""
    if points.steps_each > 1:
        yield Series(label, numbers(points.means[key]), axis, "step", colour)
        yield Series(f"{label}, extremes", numbers(points.columns[key]), axis, "shade", colour, follows=True)
    else:
        yield Series(label, numbers(points.columns[key]), axis, "step", colour)


def throughput(output: Pace, name: str) -> Lines:
    return Lines(
        title="Throughput over time",
        note=f"Output tokens in equal parts of {output.part_seconds:.3g} s, and the mean share of KV blocks in use.",
        x=TIME,
        y=[Axis("output", "tokens/s"), Axis("KV blocks in use", "%")],
        xs=moments(output.seconds),
        series=[
            Series("output tokens/s", numbers(output.output_tokens_per_s), 0, "line", 0),
            Series("KV blocks in use", numbers(output.kv_share * 100), 1, "line", 2),
        ],
        sync=name,
    )


def against_kv(output: Pace) -> Lines:
    order = np.argsort(output.kv_share, kind="stable")
    return Lines(
        title="Throughput against KV occupancy",
        note=f"One dot for each {output.part_seconds:.3g} s of the run.",
        x=Axis("KV blocks in use", "%"),
        y=[Axis("output", "tokens/s")],
        xs=numbers(output.kv_share[order] * 100),
        series=[Series("output tokens/s", numbers(output.output_tokens_per_s[order]), 0, "dots", 0)],
    )


def step_parts(points: Thinned, name: str) -> Lines:
    return Lines(
        title="Step duration by phase",
        note="execute: model and sampling; schedule and update: the scheduler; gap: outside the core. "
        f"{thinning_note(points)}",
        x=TIME,
        y=[Axis("duration", "ms", log=True)],
        xs=moments(points.seconds),
        series=[line for colour, part in enumerate(points.columns) for line in shaded(points, part, part, 0, colour)],
        sync=name,
    )


def stall_charts(run: Run, found: Stalls, name: str) -> Iterator[Lines]:
    """Yield the chart of the stalled steps; none without them."""
    rows = found.table
    if not rows.num_rows:
        return
    causes, ms = np.array(rows["cause"].to_pylist()), rows["duration_ns"].to_numpy() / 1e6
    kinds = sorted(found.by_cause, key=lambda cause: cause == UNKNOWN)
    taken = [
        Series(cause, numbers(np.where(causes == cause, ms, np.nan)), style="dots", colour=colour)
        for colour, cause in enumerate(kinds)
    ]
    expected = Series("expected", numbers(rows["expected_ns"].to_numpy() / 1e6), style="dots", colour=len(kinds))
    yield Lines(
        title="Stalled steps, by cause",
        note="One dot for each stalled step, and one for the duration that was expected of it.",
        x=TIME,
        y=[Axis("duration", "ms", log=True)],
        xs=moments((rows["start_ns"].to_numpy() - origin_ns(run)) / 1e9),
        series=[*taken, expected],
        sync=name,
    )


def limit_strip(run: Run, limits: LimitsFound, name: str) -> Spans:
    starts, ends, origin = run.iterations["start_ns"].to_numpy(), update_end_ns(run.iterations), origin_ns(run)
    pieces = stretches(limits.of_step, starts, ends, MOST_STRETCHES)
    spans = [(0, kind, *relative(begin, end, origin)) for kind, begin, end in pieces]
    used = sorted({kind for _, kind, _, _ in spans})
    return Spans(
        title="Bottleneck over time",
        note="Consecutive steps with the same limits; where they alternate too fast to see, what lasted longest.",
        kinds=[AND.join(limits.sets[kind]) for kind in used],
        rows=["bottleneck"],
        spans=[(row, used.index(kind), begin, end) for row, kind, begin, end in spans],
        sync=name,
    )


def relative(begin: int, end: int, origin: int) -> tuple[float, float]:
    return round((begin - origin) / 1e9, 6), round((end - origin) / 1e9, 6)


def pass_charts(passes: ForwardPasses) -> Iterator[Lines]:
    """Yield the charts of a forward-pass trace: requests and wall time of each step."""
    rows = passes.table
    seconds = (rows["time_ms"].to_numpy() - rows["time_ms"][0].as_py()) / 1e3
    columns = {
        "decoding": rows["scheduled_num_decode_requests"].to_numpy(),
        "in prefill": rows["scheduled_num_prefill_requests"].to_numpy(),
        "queued": rows["queued_num_prefill_requests"].to_numpy() + rows["queued_num_decode_requests"].to_numpy(),
    }
    load = thinned(seconds, columns, PASS_POINTS)
    yield Lines(
        title="Requests in each step",
        note=thinning_note(load),
        x=TIME,
        y=[Axis("requests", whole=True)],
        xs=moments(load.seconds),
        series=[line for colour, name in enumerate(columns) for line in shaded(load, name, name, 0, colour)],
        sync=FORWARD_PASSES,
    )
    wall = np.where(rows["wall_time"].to_numpy() > 0, rows["wall_time"].to_numpy() * 1e3, np.nan)
    times = thinned(seconds, {"wall time": wall}, PASS_POINTS)
    yield Lines(
        title="Wall time of each step",
        note=thinning_note(times),
        x=TIME,
        y=[Axis("wall time", "ms", log=True)],
        xs=moments(times.seconds),
        series=[*shaded(times, "wall time", "wall time", 0, 0)],
        sync=FORWARD_PASSES,
    )
