"""A recording as the forward-pass trace that NVIDIA Dynamo writes in its mode `full`."""

import gzip
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from engine_probe.analysis.forward_passes.derivation import QUEUED, SCHEDULED, forward_passes
from engine_probe.errors import InputError
from engine_probe.recordings.forward_passes import (
    SCHEMA,
    VERSION,
    Event,
    ForwardPass,
    Queued,
    Record,
    Scheduled,
    Source,
)
from engine_probe.recordings.run import Run

MS = 1_000_000


def write_trace(run: Run, file: BinaryIO) -> tuple[int, int]:
    """Write a record for each step whose figures follow from the recording; return how many, and how many do not."""
    records = [*trace(run)]
    steps = int((run.iterations["scheduled_tokens"].to_numpy() > 0).sum())
    if not records:
        raise InputError(f"{run.folder} holds no step whose forward pass is known: there is nothing to write")
    # No time in the header, so that the same recording gives the same bytes.
    with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
        for record in records:
            packed.write(msgspec.json.encode(record) + b"\n")
    return len(records), steps - len(records)


def trace(run: Run) -> Iterator[Record]:
    """Yield the records; a number left out by `counter_id` is a step whose figures do not follow."""
    facts = run.facts
    clock, arguments = facts["clock"], facts["engine"]["arguments"]
    connector = "kv_transfer_config" not in arguments or arguments["kv_transfer_config"] is not None
    passes = forward_passes(run.iterations, run.requests, run.preemptions, deferred_have_kv=connector)
    worker = f"{facts['process']['host']}-{facts['process']['pid']}"
    rank = int((arguments.get("parallel_config") or {}).get("data_parallel_index") or 0)
    source = Source("engine_probe", "backend", worker)
    for number, row in enumerate(passes.to_pylist()):
        if None in row.values():
            continue
        since_ns = row["end_ns"] - clock["monotonic_ns"]
        one = ForwardPass(
            version=VERSION,
            worker_id=worker,
            dp_rank=rank,
            counter_id=number,
            wall_time=row["wall_time"],
            scheduled_requests=Scheduled(**{name: row[f"scheduled_{name}"] for name in SCHEDULED}),
            queued_requests=Queued(**{name: row[f"queued_{name}"] for name in QUEUED}),
        )
        observed_ms = (clock["wall_ns"] + since_ns) // MS
        yield Record(max(0, since_ns // MS), Event(SCHEMA, source, "full", observed_ms, one))
