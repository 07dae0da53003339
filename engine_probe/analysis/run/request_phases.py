"""The life of each request as spans of time: queued, prefill, decode, and preempted within them."""

from __future__ import annotations

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
    """Spans of (key, begin_ns, end_ns), only where both ends are recorded; `key` is an integer column of requests.

    A phase that an abort ended lasts until the scheduler let the request go, and so does a preemption from which
    it never came back.
    """
    for name, since, until in PHASES:
        begun = requests.filter(pc.is_valid(requests[since]))
        ends = pc.coalesce(begun[until], begun["finished_ns"])
        yield name, pa.table({key: begun[key], "begin_ns": begun[since], "end_ns": ends})
    whose = requests.select(["request_id", key, "finished_ns"])
    lost = preemptions.select(["request_id", "preempted_ns", "resumed_ns"]).join(whose, "request_id", join_type="inner")
    ends = pc.coalesce(lost["resumed_ns"], lost["finished_ns"])
    yield PREEMPTED, pa.table({key: lost[key], "begin_ns": lost["preempted_ns"], "end_ns": ends})
