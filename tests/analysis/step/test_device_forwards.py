"""The forwards on the device, from tables small enough for the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.step.phases import device_forwards
from tests.support.recordings.small_tables import table

MS = 1_000_000
Make = Callable[..., pa.Table]


def forward(number: int, start: int, span: int, launched: int, rank: int = 0) -> dict[str, Any]:
    """A forward on the device from `start` on, whose last kernel the host had launched at `launched`, all in ms."""
    host = {"forward_start_ns": start * MS, "forward_ns": (launched - start) * MS}
    return {"iteration": number, "rank": rank, "device_start_ns": start * MS, "device_ns": span * MS, **host}


def test_forwards_and_what_lies_between_them(iterations: Make) -> None:
    """6 ms each, then 4, 2 and nothing until the next: 24 ms of 30 are forwards."""
    rows = [forward(0, 0, 6, 1), forward(1, 10, 6, 11), forward(2, 18, 6, 19), forward(3, 24, 6, 25)]
    found = device_forwards(iterations(4), table("workers", rows), np.zeros(4, dtype=bool))
    assert found is not None
    assert (found.mean_ns, found.between_ns, found.between_share) == (6 * MS, 2 * MS, 0.2)
    assert found.launch_bound_steps == 0


def test_a_host_that_launches_until_the_end_bounds_the_step(iterations: Make) -> None:
    """Launched after 9 of 10 ms, after 8, and after the device was done, as an event that closes the forward may be."""
    rows = [forward(0, 0, 10, 9), forward(1, 10, 10, 18), forward(2, 20, 20, 40)]
    found = device_forwards(iterations(3), table("workers", rows), np.zeros(3, dtype=bool))
    assert found is not None
    assert (found.launch_bound_steps, found.launch_bound_share) == (pytest.approx(2 / 3), 0.75)


def test_no_request_is_nobodys_idle_time(iterations: Make) -> None:
    steps = iterations(2, gap_ns=[0, 30 * MS])
    rows = [forward(0, 0, 8, 1), forward(1, 40, 8, 41)]
    found = device_forwards(steps, table("workers", rows), np.array([False, True]))
    assert found is not None
    assert (found.between_ns, found.between_share) == (2 * MS, pytest.approx(2 / 18))


def test_ranks_are_taken_one_by_one(iterations: Make) -> None:
    rows = [forward(n, 10 * n + rank, 5, 10 * n + rank, rank) for n in range(3) for rank in (0, 1)]
    found = device_forwards(iterations(3), table("workers", rows), np.zeros(3, dtype=bool))
    assert found is not None
    assert found.between_ns == 5 * MS


def test_without_device_times_nothing_is_said(iterations: Make) -> None:
    idle = np.zeros(2, dtype=bool)
    old = [{"iteration": number, "device_ns": 5} for number in range(2)]  # version 3
    assert device_forwards(iterations(2), table("workers", old), idle) is None
    assert device_forwards(iterations(2), table("workers", []), idle) is None
    assert device_forwards(iterations(2), table("workers", [forward(0, 0, 5, 1)]), idle) is None
