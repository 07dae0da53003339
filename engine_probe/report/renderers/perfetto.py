"""A recording as a trace that Perfetto (ui.perfetto.dev) opens: steps, counters, requests, workers, telemetry.

Of several recordings, such as the points of a sweep, each is a group of tracks on one common time axis.
"""

from collections.abc import Iterator, Mapping
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.latencies import request_spans
from engine_probe.analysis.run.token_times import update_end_ns, waiting_requests
from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.errors import InputError
from engine_probe.recordings.run import Run
from engine_probe.report.renderers.perfetto_packets import Pieces, Slot, begin, clock, counter, end, fixed, rows, track

Span = tuple[str, str, str]

# name of the counter, its unit, and its (time, value) columns
COUNTERS = (
    ("KV blocks", "blocks", (("scheduled_at", "kv_blocks_scheduled"), ("updated_at", "kv_blocks_updated"))),
    ("running", "requests", (("scheduled_at", "running_requests"),)),
    ("waiting", "requests", (("scheduled_at", "waiting"),)),
    ("waiting reason", "code in schema", (("scheduled_at", "waiting_reason"),)),
    ("scheduled tokens", "tokens", (("scheduled_at", "scheduled_tokens"),)),
    ("prefill tokens", "tokens", (("scheduled_at", "prefill_tokens"),)),
    ("output tokens", "tokens", (("updated_at", "output_tokens"),)),
)
# Columns that are points in time, not durations.
MOMENTS = (
    *("start_ns", "arrival_ns", "queued_ns", "first_scheduled_ns", "first_token_ns", "last_token_ns", "finished_ns"),
    *("preempted_ns", "resumed_ns", "time_ns", "forward_start_ns", "sample_start_ns", "device_start_ns"),
)
MOST_IN_FLIGHT = 64  # steps; asynchronous and pipelined engines have a few


def trace(run: Run) -> Iterator[bytes]:
    yield clock(run.facts["clock"]["monotonic_ns"], run.facts["clock"]["wall_ns"])
    yield from tracks(run, count(1))


def traces(runs: Mapping[str, Run]) -> Iterator[bytes]:
    """Yield one trace of several runs of at least one step, each as a named group of tracks.

    Each machine has a monotonic clock of its own. The wall clock, recorded at the start of each run, aligns them with
    the clock of the run that began first.
    """
    first = min(runs.values(), key=lambda run: wall_ns(run) + int(run.iterations["start_ns"][0].as_py()))
    uuids = count(1)
    yield clock(first.facts["clock"]["monotonic_ns"], first.facts["clock"]["wall_ns"])
    for name, run in runs.items():
        group = next(uuids)
        yield track(group, name)
        yield from tracks(run, uuids, group, by=wall_ns(run) - wall_ns(first))


def wall_ns(run: Run) -> int:
    """Return the wall-clock time at which the run's monotonic clock was zero."""
    return int(run.facts["clock"]["wall_ns"] - run.facts["clock"]["monotonic_ns"])


def tracks(run: Run, uuids: Iterator[int], group: int | None = None, by: int = 0) -> Iterator[bytes]:
    """Yield all tracks of one run below the track `group`, with times moved `by` ns."""
    yield from steps(moved(run.iterations, by), f"engine: {run.model_name}", uuids, group)
    yield from stalls(moved(run.stalls, by), moved(run.host_events, by), uuids, group)
    yield from workers(moved(run.workers, by), uuids, group)
    yield from operators(moved(run.operator_slices, by), uuids, group)
    yield from requests(moved(run.requests, by), moved(run.preemptions, by), uuids, group)
    try:
        sampled = run.telemetry
    except InputError:
        return  # the command that writes the trace reports it; the other tracks are complete
    yield from telemetry(moved(sampled, by), uuids, group)


def moved(table: pa.Table, by: int) -> pa.Table:
    """Return the same rows with all points in time moved `by` ns."""
    for name in MOMENTS if by else ():
        if name in table.column_names:
            index = table.schema.get_field_index(name)
            table = table.set_column(index, table.schema.field(index), pc.add(table[name], by))
    return table


def steps(iterations: pa.Table, title: str, uuids: Iterator[int], group: int | None) -> Iterator[bytes]:
    """Yield each step as a slice split into schedule, execute and update, and the counters."""
    column = {name: iterations[name].to_numpy() for name in iterations.column_names}
    column["scheduled_at"] = column["start_ns"] + column["schedule_ns"]
    column["executed_at"] = column["scheduled_at"] + column["execute_ns"]
    column["updated_at"] = update_end_ns(iterations)
    column["waiting"] = waiting_requests(iterations)
    engine = next(uuids)
    yield track(engine, title, group)
    lanes = lanes_needed(column["start_ns"], column["updated_at"])
    for lane in range(lanes):
        uuid = next(uuids)
        yield track(uuid, "steps" if lanes == 1 else f"steps, lane {lane + 1} of {lanes}", engine)
        arguments = {"iteration": "iteration", "requests": "scheduled_requests", "preempted": "preempted_requests"}
        pieces = begin("start_ns", uuid, "step", **arguments)
        marks = ("start_ns", "scheduled_at", "executed_at", "updated_at")
        for name, since, until in zip(("schedule", "execute", "update"), marks, marks[1:], strict=False):
            pieces += begin(since, uuid, name) + end(until, uuid)
        yield from rows(
            pieces + end("updated_at", uuid), {name: values[lane::lanes] for name, values in column.items()}
        )
    for name, unit, points in COUNTERS:
        if any(iterations[value].null_count for _, value in points if value in iterations.column_names):
            continue  # an older recording
        uuid = next(uuids)
        yield track(uuid, name, engine, unit)
        yield from rows(sum((counter(at, uuid, value) for at, value in points), ()), column)
        if group is not None:  # otherwise Perfetto extends the last value through the time of other runs
            yield from rows(counter("at", uuid, "none"), {"at": column["updated_at"][-1:], "none": np.zeros(1)})


def lanes_needed(starts: Integers, ends: Integers) -> int:
    """Return the most steps in flight at a time: slices of one track must not overlap."""
    for lanes in range(1, MOST_IN_FLIGHT + 1):
        if not (starts[lanes:] < ends[: len(ends) - lanes]).any():
            return lanes
    raise InputError(f"more than {MOST_IN_FLIGHT} steps overlap: the recording contradicts itself")


# The phases of a worker's step: slice, the columns between which it lies, and the slices inside it.
EXECUTE = ("execute_model", "start_ns", "returned_ns")
INSIDE_EXECUTE = (
    ("input preparation", "start_ns", "forward_start_ns"),
    ("forward", "forward_start_ns", "forward_end_ns"),
    ("logits", "forward_end_ns", "returned_ns"),
)
SAMPLE = ("sample_tokens", "sample_start_ns", "sampled_ns")
INSIDE_SAMPLE = (
    ("sampling", "sample_start_ns", "bookkeep_start_ns"),
    ("bookkeeping", "bookkeep_start_ns", "sampled_ns"),
)
NULLABLE = (
    *("forward_start_ns", "forward_ns", "sample_start_ns", "bookkeep_ns", "device_start_ns", "device_ns"),
    *("graph_mode", "computed_tokens"),
)


def workers(table: pa.Table, uuids: Iterator[int], group: int | None) -> Iterator[bytes]:
    """Yield a track for each rank with the phases of its steps, and one of its device with the forwards."""
    if not table.num_rows:
        return
    parent = next(uuids)
    yield track(parent, "workers", group)
    for rank in pc.unique(table["rank"]).sort().to_pylist():
        mine = table.filter(pc.equal(table["rank"], rank))
        host, device = next(uuids), next(uuids)
        yield track(host, f"rank {rank}", parent)
        if mine["device_start_ns"].null_count < mine.num_rows:
            yield track(device, f"rank {rank}, device", parent)
        for known, part in by_known_columns(mine):
            columns = worker_moments(part, known)
            yield from rows(worker_slices(host, known), columns)
            if "device_start_ns" in known:
                forward = begin("device_start_ns", device, "forward", iteration="iteration")
                yield from rows(forward + end("device_end_ns", device), columns)


def by_known_columns(table: pa.Table) -> Iterator[tuple[frozenset[str], pa.Table]]:
    """Yield the rows that have values in the same nullable columns."""
    bits = sum(table[name].is_valid().to_numpy().astype(np.int64) << place for place, name in enumerate(NULLABLE))
    for shape in np.unique(bits).tolist():
        known = frozenset(name for place, name in enumerate(NULLABLE) if shape >> place & 1)
        yield known, table.filter(pa.array(bits == shape))


def worker_moments(part: pa.Table, known: frozenset[str]) -> dict[str, Integers]:
    columns = {name: part[name].to_numpy() for name in part.column_names if name in known or name not in NULLABLE}
    columns["returned_ns"] = columns["start_ns"] + columns["execute_ns"]
    if "forward_ns" in known:
        columns["forward_end_ns"] = columns["forward_start_ns"] + columns["forward_ns"]
    if "sample_start_ns" in known:
        columns["sampled_ns"] = columns["sample_start_ns"] + columns["sample_ns"]
    if "bookkeep_ns" in known:
        columns["bookkeep_start_ns"] = columns["sampled_ns"] - columns["bookkeep_ns"]
    if "device_start_ns" in known:
        columns["device_end_ns"] = columns["device_start_ns"] + columns["device_ns"]
    return columns


def worker_slices(host: int, known: frozenset[str]) -> Pieces:
    """Return the slices of a step for which these nullable columns are known."""
    arguments = {name: name for name in ("iteration", "scheduled_tokens", "sample_ns")}
    arguments |= {name: name for name in ("device_ns", "graph_mode", "computed_tokens") if name in known}
    pieces = nested(host, EXECUTE, INSIDE_EXECUTE if "forward_ns" in known else (), **arguments)
    if "sample_start_ns" in known:
        pieces += nested(host, SAMPLE, INSIDE_SAMPLE if "bookkeep_ns" in known else ())
    return pieces


def nested(uuid: int, outer: Span, inner: tuple[Span, ...], **arguments: str) -> Pieces:
    name, since, until = outer
    pieces = begin(since, uuid, name, **arguments)
    for phase, phase_since, phase_until in inner:
        pieces += begin(phase_since, uuid, phase) + end(phase_until, uuid)
    return pieces + end(until, uuid)


def stalls(stalled: pa.Table, host_events: pa.Table, uuids: Iterator[int], group: int | None) -> Iterator[bytes]:
    """Yield a track of the stalled steps, named by their causes, and one for each kind of event of the host."""
    yield from slices("stalls", stalled, "cause", ("iteration", "expected_ns", "excess_ns"), uuids, group)
    for kind in pc.unique(host_events["kind"]).sort().to_pylist():
        mine = host_events.filter(pc.equal(host_events["kind"], kind))
        yield from slices(kind, mine, "kind", ("held_ns",), uuids, group)


def operators(table: pa.Table, uuids: Iterator[int], group: int | None) -> Iterator[bytes]:
    """Yield a track for each rank's operators, nested as they called each other, and one for each stream of its GPU."""
    if not table.num_rows:
        return
    parent = next(uuids)
    yield track(parent, "operators", group)
    places = table.group_by(["rank", "place", "stream"]).aggregate([]).sort_by("rank").to_pylist()
    for place in places:
        uuid, stream = next(uuids), place["stream"]
        where = place["place"] if stream is None else f"{place['place']}, stream {stream}"
        yield track(uuid, f"rank {place['rank']}, {where}", parent)
        mine = table.filter(pc.and_(pc.equal(table["rank"], place["rank"]), pc.equal(table["place"], place["place"])))
        mine = mine.filter(pc.is_null(mine["stream"]) if stream is None else pc.equal(mine["stream"], stream))
        yield from in_order(mine, uuid)


def in_order(table: pa.Table, uuid: int) -> Iterator[bytes]:
    """Yield slices that may lie inside one another, outer ones first.

    Kernels of one stream can overlap a little, which slices must not: the earlier one is shown until the later begins.
    """
    table = table.sort_by([("start_ns", "ascending"), ("duration_ns", "descending")])
    starts = table["start_ns"].to_numpy()
    ends = starts + table["duration_ns"].to_numpy()
    if table["stream"].null_count == 0:
        ends[:-1] = np.minimum(ends[:-1], starts[1:])
    names, kinds = table["name"].to_pylist(), table["kind"].to_pylist()
    for since, until, name, kind in zip(starts.tolist(), ends.tolist(), names, kinds, strict=True):
        yield fixed(begin(since, uuid, name, kind) + end(until, uuid))


def slices(
    title: str, table: pa.Table, names: str, arguments: tuple[str, ...], uuids: Iterator[int], group: int | None
) -> Iterator[bytes]:
    """Yield a track of slices from start_ns for duration_ns, named by a column."""
    if not table.num_rows:
        return
    uuid = next(uuids)
    yield track(uuid, title, group)
    for name in pc.unique(table[names]).to_pylist():
        mine = table.filter(pc.equal(table[names], name))
        columns = {column: mine[column].to_numpy() for column in ("start_ns", "duration_ns", *arguments)}
        columns["end_ns"] = columns["start_ns"] + columns["duration_ns"]
        yield from rows(
            begin("start_ns", uuid, name, **dict(zip(arguments, arguments, strict=True))) + end("end_ns", uuid), columns
        )


def telemetry(table: pa.Table, uuids: Iterator[int], group: int | None) -> Iterator[bytes]:
    """Yield a counter for every column with values, per GPU and for the host."""
    if not table.num_rows:
        return
    parent = next(uuids)
    yield track(parent, "telemetry", group)
    for device in sorted(pc.unique(table["device"]).to_pylist(), key=lambda index: -1 if index is None else index):
        chosen = pc.is_null(table["device"]) if device is None else pc.equal(table["device"], device)
        mine = table.filter(chosen)
        for field in table.schema:
            values = mine.filter(pc.is_finite(mine[field.name]))  # neither null nor NaN
            if field.name in ("time_ns", "device") or not values.num_rows:
                continue
            uuid = next(uuids)
            owner = "host" if device is None else f"GPU {device}"
            yield track(uuid, f"{owner}: {field.name}", parent, field.metadata[b"unit"].decode())
            columns = {"time_ns": values["time_ns"].to_numpy(), "value": values[field.name].to_numpy()}
            yield from rows(counter("time_ns", uuid, "value"), columns)


def requests(table: pa.Table, preemptions: pa.Table, uuids: Iterator[int], group: int | None) -> Iterator[bytes]:
    """Yield one track per request: queued, prefill and decode, and preempted within them."""
    if not table.num_rows:
        return
    parent = next(uuids)
    yield track(parent, "requests", group)
    table = table.append_column("track", pa.array([next(uuids) for _ in range(table.num_rows)], pa.int64()))
    for uuid, name in zip(table["track"].to_pylist(), table["request_id"].to_pylist(), strict=True):
        yield track(uuid, name, parent)
    for name, spans in request_spans(table, preemptions, "track"):
        columns = {column: spans[column].to_numpy() for column in ("track", "begin_ns", "end_ns")}
        yield from rows(begin("begin_ns", Slot("track"), name) + end("end_ns", Slot("track")), columns)
