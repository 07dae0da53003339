"""TTFT and TPOT while a recording grows: always the medians of what has been answered so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from engine_probe.analysis.run.latencies import LATENCIES, answered
from engine_probe.analysis.run.live_latencies import LiveLatencies, Medians

MS = 1_000_000
Make = Callable[..., pa.Table]


def row(first_ms: int, last_ms: int, tokens: int, **more: Any) -> dict[str, Any]:
    times = {"arrival_ns": 10 * MS, "first_token_ns": first_ms * MS, "last_token_ns": last_ms * MS}
    return {**times, "output_tokens": tokens, "finish_reason": "length", **more}


def test_the_medians_follow_the_answers(requests: Make) -> None:
    live = LiveLatencies()
    assert live.medians() == Medians(0, None, None)
    live.add(requests(row(30, 130, 11)))
    assert live.medians() == Medians(1, 20 * MS, 10 * MS)
    live.add(requests(row(110, 150, 11), row(60, 260, 11)))
    assert live.medians() == Medians(3, 50 * MS, 10 * MS)


def test_an_aborted_request_is_in_neither_and_one_token_has_no_tpot(requests: Make) -> None:
    live = LiveLatencies()
    live.add(requests(row(500, 900, 2, finish_reason="abort")))
    assert live.medians() == Medians(0, None, None)
    live.add(requests(row(30, 30, 1)))
    assert live.medians() == Medians(1, 20 * MS, None)


def test_at_the_end_they_are_the_summarys(requests: Make) -> None:
    """Whatever the pieces in which the rows came."""
    rows = [row(20 + number * 7 % 50, 200 + number * 13 % 90, 5 + number % 4) for number in range(24)]
    live = LiveLatencies()
    for begin in range(0, len(rows), 5):
        live.add(requests(*rows[begin : begin + 5]))
    whole = answered(requests(*rows))
    ttft, tpot = (latency.sample_ns(whole, whole).percentiles((50,))[0] for latency in LATENCIES[:2])
    assert live.medians() == Medians(24, ttft, tpot)
