"""Charts of the requests of a run: their phases over time, preemptions, and latency by prompt length."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run import latencies
from engine_probe.analysis.run.timeline import thinned
from engine_probe.recordings.run import Run
from engine_probe.report.charts.model import Axis, Chart, Lines, Series, Spans, moments, numbers
from engine_probe.report.charts.run import TIME, origin_ns, relative

MOST_ROWS = 200  # requests in the chart of phases
MOST_DOTS = 2000


def request_charts(run: Run, name: str, points: int) -> Iterator[Chart]:
    if run.requests.num_rows:
        yield gantt(run.requests, run.preemptions, origin_ns(run), name)
    if run.preemptions.num_rows:
        yield preemption_timeline(run.preemptions, origin_ns(run), points, name)
    if run.requests.num_rows:
        yield from by_prompt(latencies.answered(run.measured_requests))


def gantt(requests: pa.Table, preemptions: pa.Table, origin: int, name: str) -> Spans:
    """Return the phases of requests by arrival; of many, an even choice with the slowest and most preempted."""
    chosen = drawn_requests(requests)
    rows = requests.take(pa.array(chosen)).append_column("row", pa.array(range(len(chosen)), pa.int64()))
    kinds = [*(phase for phase, _, _ in latencies.PHASES), latencies.PREEMPTED]
    spans: list[tuple[int, int, float, float]] = []
    for phase, table in latencies.request_spans(rows, preemptions, "row"):
        for span in table.to_pylist():
            spans.append((span["row"], kinds.index(phase), *relative(span["begin_ns"], span["end_ns"], origin)))
    if len(chosen) == requests.num_rows:
        scope = f"All {len(chosen)} requests"
    else:
        scope = f"{len(chosen)} of {requests.num_rows:,} requests (chosen evenly, with the slowest and most preempted)"
    return Spans(
        title="Requests",
        note=f"{scope}, from queued to the last token, in order of arrival.",
        kinds=kinds,
        rows=rows["request_id"].to_pylist(),
        spans=spans,
        sync=name,
    )


def drawn_requests(requests: pa.Table) -> npt.NDArray[np.int64]:
    """Return the row numbers of the requests to draw, in order of arrival."""
    arrived = pc.fill_null(pc.coalesce(requests["queued_ns"], requests["first_scheduled_ns"]), 0).to_numpy()
    order = np.argsort(arrived, kind="stable")
    if len(order) <= MOST_ROWS:
        return order
    duration = requests["finished_ns"].to_numpy() - arrived
    even = order[np.linspace(0, len(order) - 1, MOST_ROWS // 2).astype(np.int64)]
    slowest = np.argsort(duration)[-MOST_ROWS // 4 :]
    preempted = requests["preemptions"].to_numpy()
    most_preempted = np.argsort(preempted, kind="stable")[-MOST_ROWS // 4 :]
    most_preempted = most_preempted[preempted[most_preempted] > 0]
    chosen = np.unique(np.r_[even, slowest, most_preempted])
    return chosen[np.argsort(arrived[chosen], kind="stable")]


def by_prompt(requests: pa.Table) -> Iterator[Lines]:
    """Yield TTFT and TPOT of each request by prompt length, if prompts differ in length."""
    yield from over_prompts(requests, "TTFT", "Time to first token", latencies.time_to_first_token(requests))
    yield from over_prompts(requests, "TPOT", "Time per output token", latencies.time_per_output_token(requests))


def over_prompts(requests: pa.Table, name: str, meaning: str, ns: pa.ChunkedArray) -> Iterator[Lines]:
    """Yield a dot for each request that has the latency; of many, an even choice with the slowest."""
    known = pc.is_valid(ns)
    tokens, ms = requests["prompt_tokens"].filter(known).to_numpy(), ns.filter(known).to_numpy() / 1e6
    if len(np.unique(tokens)) < 2:
        return
    order = np.argsort(tokens, kind="stable")
    if len(order) > MOST_DOTS:
        even = np.linspace(0, len(order) - 1, MOST_DOTS * 9 // 10).astype(np.int64)
        slowest = np.argsort(ms[order])[-MOST_DOTS // 10 :]
        order = order[np.union1d(even, slowest)]
    all_drawn = len(order) == len(tokens)
    scope = "Each request" if all_drawn else f"{len(order):,} of {len(tokens):,} requests, with the slowest"
    yield Lines(
        title=f"{meaning} by prompt length",
        note=f"{scope}.",
        x=Axis("prompt", "tokens", whole=True),
        y=[Axis(name, "ms")],
        xs=numbers(tokens[order]),
        series=[Series(name, numbers(ms[order]), 0, "dots", 0)],
    )


def preemption_timeline(preemptions: pa.Table, origin: int, points: int, name: str) -> Lines:
    ordered = preemptions.sort_by("preempted_ns")
    columns = {"lost": ordered["lost_tokens"].to_numpy(), "so far": np.arange(1, ordered.num_rows + 1)}
    thin = thinned((ordered["preempted_ns"].to_numpy() - origin) / 1e9, columns, points)
    return Lines(
        title="Preemptions",
        note="A dot is a preemption, at the number of computed tokens that the request lost.",
        x=TIME,
        y=[Axis("lost", "tokens", whole=True), Axis("preemptions so far", whole=True)],
        xs=moments(thin.seconds),
        series=[
            Series("tokens lost", numbers(thin.columns["lost"]), 0, "dots", 3),
            Series("preemptions so far", numbers(thin.columns["so far"]), 1, "step", 0),
        ],
        sync=name,
    )
