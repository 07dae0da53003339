"""The phases of each request as spans of time: queued, prefill, decode, and preempted within them."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

PHASES = (
    ("queued", "queued_ns", "first_scheduled_ns"),
    ("prefill", "first_scheduled_ns", "first_token_ns"),
    ("decode", "first_token_ns", "last_token_ns"),
)
PREEMPTED = "preempted"


def request_spans(requests: pa.Table, preemptions: pa.Table, key: str) -> Iterator[tuple[str, pa.Table]]:
    """Yield each phase with its spans (key, begin_ns, end_ns); `key` is an integer column of requests.

    A phase without a recorded beginning is left out. A phase that an abort ended, or a preemption without a resumption,
    lasts until the scheduler freed the request.
    """
    for name, since, until in PHASES:
        begun = requests.filter(pc.is_valid(requests[since]))
        ends = pc.coalesce(begun[until], begun["finished_ns"])
        yield name, pa.table({key: begun[key], "begin_ns": begun[since], "end_ns": ends})
    keys = requests.select(["request_id", key, "finished_ns"])
    rows = preemptions.select(["request_id", "preempted_ns", "resumed_ns"]).join(keys, "request_id", join_type="inner")
    ends = pc.coalesce(rows["resumed_ns"], rows["finished_ns"])
    yield PREEMPTED, pa.table({key: rows[key], "begin_ns": rows["preempted_ns"], "end_ns": ends})
