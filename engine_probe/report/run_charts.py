"""The charts of one run, all on its own clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.limits import NAMES, LimitsFound
from engine_probe.analysis.metrics import answered
from engine_probe.analysis.overtime import Pace, Thinned, pace, stretches, thinned
from engine_probe.analysis.spans import PHASES, PREEMPTED, request_spans
from engine_probe.analysis.tokens import update_end_ns
from engine_probe.report.charts import Axis, Chart, Lines, Series, Spans, moments, numbers
from engine_probe.run import Run

MOST_ROWS = 200  # of requests that are drawn one by one
MOST_STRETCHES = 1000
MOST_DOTS = 2000
TIME = Axis("time", "s")


def load_charts(run: Run, limits: LimitsFound, name: str, points: int) -> Iterator[Chart]:
    """What was asked of the engine, what held it up, what came out; `points` is how many moments a line may have."""
    iterations = run.iterations
    blocks, answers = run.facts["kv"]["blocks"], run.requests.num_rows
    levels = {
        "running": iterations["running_requests"].to_numpy(),
        "waiting": iterations["waiting_requests"].to_numpy() + iterations["deferred_requests"].to_numpy(),
        "kv": iterations["kv_blocks_scheduled"].to_numpy() / blocks * 100,
    }
    if answers:
        finished = iterations["finished_requests"].to_numpy()
        levels["answered"] = np.cumsum(finished, dtype=np.int64) / answers * 100
    yield pressure(thinned(scheduled_s(run), levels, points), name)
    yield limit_strip(run, limits, name)
    drawn = pace(iterations, blocks)
    if drawn is not None:
        yield throughput(drawn, name)
        yield against_kv(drawn)


def request_charts(run: Run, name: str, points: int) -> Iterator[Chart]:
    """Of single requests: when each was in which phase, which were thrown out, and what long prompts waited."""
    if run.requests.num_rows:
        yield gantt(run.requests, run.preemptions, origin_ns(run), name)
    if run.preemptions.num_rows:
        yield preemption_timeline(run.preemptions, origin_ns(run), points, name)
    if run.requests.num_rows:
        yield from by_prompt(answered(run.requests))


def step_charts(run: Run, name: str, points: int) -> Iterator[Chart]:
    parts = {part: run.iterations[f"{part}_ns"].to_numpy() / 1e6 for part in ("execute", "schedule", "update", "gap")}
    yield step_parts(thinned(scheduled_s(run), parts, points), name)


def origin_ns(run: Run) -> int:
    """Where the time of all charts of a run begins: its first step."""
    return int(run.iterations["start_ns"][0].as_py())


def scheduled_s(run: Run) -> npt.NDArray[np.float64]:
    """When each step's schedule() was done, from which on its levels hold."""
    done = run.iterations["start_ns"].to_numpy() + run.iterations["schedule_ns"].to_numpy()
    seconds: npt.NDArray[np.float64] = (done - origin_ns(run)) / 1e9
    return seconds


def told(points: Thinned) -> str:
    if points.steps_each == 1:
        return "Every step is drawn."
    return f"Lines are means of {points.steps_each:,} steps, shades reach from the least to the most of them."


def pressure(points: Thinned, name: str) -> Lines:
    labels = {"running": ("running", 0, 0), "waiting": ("waiting", 0, 1), "kv": ("KV blocks in use", 1, 2)}
    labels["answered"] = ("answered", 1, 4)
    return Lines(
        title="Admission, queueing and memory pressure",
        note=f"Requests that run and wait after each schedule(); KV blocks in use, and requests answered of all. "
        f"{told(points)}",
        x=TIME,
        y=[Axis("requests"), Axis("share", "%")],
        xs=moments(points.seconds),
        series=[line for key in points.columns for line in shaded(points, key, *labels[key])],
        sync=name,
    )


def shaded(points: Thinned, key: str, label: str, axis: int, colour: int) -> Iterator[Series]:
    """What holds until the next step; of more steps than points their mean, and behind it all between the extremes."""
    if points.steps_each > 1:
        yield Series(label, numbers(points.means[key]), axis, "step", colour)
        yield Series(f"{label}, extremes", numbers(points.columns[key]), axis, "shade", colour, follows=True)
    else:
        yield Series(label, numbers(points.columns[key]), axis, "step", colour)


def throughput(drawn: Pace, name: str) -> Lines:
    return Lines(
        title="Throughput over time",
        note=f"Output tokens in equal parts of {drawn.part_seconds:.3g} s, and the mean share of KV blocks in use.",
        x=TIME,
        y=[Axis("output", "tokens/s"), Axis("KV blocks in use", "%")],
        xs=moments(drawn.seconds),
        series=[
            Series("output tokens/s", numbers(drawn.output_tokens_per_s), 0, "line", 0),
            Series("KV blocks in use", numbers(drawn.kv_share * 100), 1, "line", 2),
        ],
        sync=name,
    )


def against_kv(drawn: Pace) -> Lines:
    order = np.argsort(drawn.kv_share, kind="stable")
    return Lines(
        title="Throughput against KV occupancy",
        note=f"One dot for each {drawn.part_seconds:.3g} s of the run.",
        x=Axis("KV blocks in use", "%"),
        y=[Axis("output", "tokens/s")],
        xs=numbers(drawn.kv_share[order] * 100),
        series=[Series("output tokens/s", numbers(drawn.output_tokens_per_s[order]), 0, "dots", 0)],
    )


def step_parts(points: Thinned, name: str) -> Lines:
    return Lines(
        title="What a step takes",
        note=f"execute: model and sampling; schedule and update: the scheduler; gap: outside the core. {told(points)}",
        x=TIME,
        y=[Axis("duration", "ms", log=True)],
        xs=moments(points.seconds),
        series=[line for colour, part in enumerate(points.columns) for line in shaded(points, part, part, 0, colour)],
        sync=name,
    )


def limit_strip(run: Run, limits: LimitsFound, name: str) -> Spans:
    starts, ends, origin = run.iterations["start_ns"].to_numpy(), update_end_ns(run.iterations), origin_ns(run)
    pieces = stretches(limits.of_step.astype(np.int64), starts, ends, MOST_STRETCHES)
    spans = [(0, kind, *relative(begin, end, origin)) for kind, begin, end in pieces]
    used = sorted({kind for _, kind, _, _ in spans})
    return Spans(
        title="What limits, when",
        note="Consecutive steps of one limit; where they alternate faster than the eye, the one that lasted longest.",
        kinds=[NAMES[kind] for kind in used],
        rows=["limited by"],
        spans=[(row, used.index(kind), begin, end) for row, kind, begin, end in spans],
        sync=name,
    )


def relative(begin: int, end: int, origin: int) -> tuple[float, float]:
    return round((begin - origin) / 1e9, 6), round((end - origin) / 1e9, 6)


def gantt(requests: pa.Table, preemptions: pa.Table, origin: int, name: str) -> Spans:
    """Requests in the order in which they came; of many, an even choice, the slowest and the most preempted."""
    chosen = drawn_requests(requests)
    rows = requests.take(pa.array(chosen)).append_column("row", pa.array(range(len(chosen)), pa.int64()))
    kinds = [*(phase for phase, _, _ in PHASES), PREEMPTED]
    spans: list[tuple[int, int, float, float]] = []
    for phase, table in request_spans(rows, preemptions, "row"):
        for span in table.to_pylist():
            spans.append((span["row"], kinds.index(phase), *relative(span["begin_ns"], span["end_ns"], origin)))
    all_of = (
        f"All {len(chosen)} requests"
        if len(chosen) == requests.num_rows
        else (
            f"{len(chosen)} of {requests.num_rows:,} requests (spread evenly, with the slowest and the most preempted)"
        )
    )
    return Spans(
        title="Requests",
        note=f"{all_of}, from queued to the last token, in the order in which they came.",
        kinds=kinds,
        rows=rows["request_id"].to_pylist(),
        spans=spans,
        sync=name,
    )


def drawn_requests(requests: pa.Table) -> npt.NDArray[np.int64]:
    """Rows of the requests table, by arrival."""
    came = pc.fill_null(pc.coalesce(requests["queued_ns"], requests["first_scheduled_ns"]), 0).to_numpy()
    order = np.argsort(came, kind="stable")
    if len(order) <= MOST_ROWS:
        return order
    lasted = requests["finished_ns"].to_numpy() - came
    even = order[np.linspace(0, len(order) - 1, MOST_ROWS // 2).astype(np.int64)]
    slowest = np.argsort(lasted)[-MOST_ROWS // 4 :]
    preempted = requests["preemptions"].to_numpy()
    hit = np.argsort(preempted, kind="stable")[-MOST_ROWS // 4 :]
    hit = hit[preempted[hit] > 0]
    chosen = np.unique(np.r_[even, slowest, hit])
    return chosen[np.argsort(came[chosen], kind="stable")]


def by_prompt(requests: pa.Table) -> Iterator[Lines]:
    """Where prompts differ in length: what each waited for its first token, and for each later one."""
    ttft = pc.subtract(requests["first_token_ns"], requests["arrival_ns"])
    decode = pc.cast(pc.subtract(requests["last_token_ns"], requests["first_token_ns"]), pa.float64())
    several = pc.if_else(pc.greater(requests["output_tokens"], 1), pc.subtract(requests["output_tokens"], 1), None)
    yield from over_prompts(requests, "TTFT", "Time to first token", ttft)
    yield from over_prompts(requests, "TPOT", "Time per output token", pc.divide(decode, several))


def over_prompts(requests: pa.Table, name: str, meaning: str, ns: pa.ChunkedArray) -> Iterator[Lines]:
    """One dot for each request that has the latency; of many an even choice, and the slowest."""
    known = pc.is_valid(ns)
    tokens, ms = requests["prompt_tokens"].filter(known).to_numpy(), ns.filter(known).to_numpy() / 1e6
    if len(np.unique(tokens)) < 2:
        return
    order = np.argsort(tokens, kind="stable")
    if len(order) > MOST_DOTS:
        even = np.linspace(0, len(order) - 1, MOST_DOTS * 9 // 10).astype(np.int64)
        slowest = np.argsort(ms[order])[-MOST_DOTS // 10 :]
        order = order[np.union1d(even, slowest)]
    drawn = (
        "Each request" if len(order) == len(tokens) else f"{len(order):,} of {len(tokens):,} requests, the slowest too"
    )
    yield Lines(
        title=f"{meaning} by prompt length",
        note=f"{drawn}.",
        x=Axis("prompt", "tokens"),
        y=[Axis(name, "ms")],
        xs=numbers(tokens[order]),
        series=[Series(name, numbers(ms[order]), 0, "dots", 0)],
    )


def preemption_timeline(preemptions: pa.Table, origin: int, points: int, name: str) -> Lines:
    ordered = preemptions.sort_by("preempted_ns")
    columns = {
        "lost": ordered["lost_tokens"].to_numpy(),
        "so far": np.arange(1, ordered.num_rows + 1),
    }
    drawn = thinned((ordered["preempted_ns"].to_numpy() - origin) / 1e9, columns, points)
    return Lines(
        title="Preemptions",
        note="Each dot is a request thrown out of the batch, at the height of the computed tokens it lost.",
        x=TIME,
        y=[Axis("lost", "tokens"), Axis("preemptions so far")],
        xs=moments(drawn.seconds),
        series=[
            Series("tokens lost", numbers(drawn.columns["lost"]), 0, "dots", 3),
            Series("preemptions so far", numbers(drawn.columns["so far"]), 1, "step", 0),
        ],
        sync=name,
    )
