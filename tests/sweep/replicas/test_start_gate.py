"""The common start: nobody begins before the last is warm, and all are told the same moment."""

from __future__ import annotations

import pytest

from engine_probe.sweep.engine_process.messages import Began, Ready
from engine_probe.sweep.replicas.start_gate import LEAD_SECONDS, PointOverError, StartGate, StartSlot

NOW = 1_000_000_000


def slots(number: int) -> tuple[StartGate, list[StartSlot]]:
    gate = StartGate(number, lambda: NOW)
    return gate, [StartSlot(gate) for _ in range(number)]


def test_all_are_told_the_same_moment_once_the_last_is_ready() -> None:
    _, (first, second) = slots(2)
    assert first.attend([Began(0), Ready(0)]) is None
    assert second.attend([Began(0)]) is None
    start_ns = NOW + round(LEAD_SECONDS * 1e9)
    assert second.attend([Ready(0)]) == start_ns
    assert first.attend([]) == start_ns


def test_each_is_told_once() -> None:
    _, (only,) = slots(1)
    assert only.attend([Ready(0)]) is not None
    assert only.attend([]) is None


def test_who_waits_learns_that_the_point_is_over() -> None:
    gate, (first, _) = slots(2)
    first.attend([Ready(0)])
    gate.stop()
    with pytest.raises(PointOverError):
        first.attend([])
