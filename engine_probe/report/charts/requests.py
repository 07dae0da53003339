"""Single requests of a run: when each was in which phase, which were preempted, how long long prompts waited."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.latencies import answered, time_per_output_token, time_to_first_token
from engine_probe.analysis.run.request_phases import PHASES, PREEMPTED, request_spans
from engine_probe.analysis.run.timeline import thinned
from engine_probe.recordings.run import Run
from engine_probe.report.charts.model import Axis, Chart, Lines, Series, Spans, moments, numbers
from engine_probe.report.charts.run import TIME, origin_ns, relative

MOST_ROWS = 200  # of requests that are drawn one by one
MOST_DOTS = 2000


def request_charts(run: Run, name: str, points: int) -> Iterator[Chart]:
    if run.requests.num_rows:
        yield gantt(run.requests, run.preemptions, origin_ns(run), name)
    if run.preemptions.num_rows:
        yield preemption_timeline(run.preemptions, origin_ns(run), points, name)
    if run.requests.num_rows:
        yield from by_prompt(answered(run.requests))


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
    yield from over_prompts(requests, "TTFT", "Time to first token", time_to_first_token(requests))
    yield from over_prompts(requests, "TPOT", "Time per output token", time_per_output_token(requests))


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
        x=Axis("prompt", "tokens", whole=True),
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
        note="Each dot is a preemption, at the height of the computed tokens that the request lost.",
        x=TIME,
        y=[Axis("lost", "tokens", whole=True), Axis("preemptions so far", whole=True)],
        xs=moments(drawn.seconds),
        series=[
            Series("tokens lost", numbers(drawn.columns["lost"]), 0, "dots", 3),
            Series("preemptions so far", numbers(drawn.columns["so far"]), 1, "step", 0),
        ],
        sync=name,
    )
