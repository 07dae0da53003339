from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.batch.request_times import request_ns, request_prices
from engine_probe.engine.twin.step_times import Price

GAP, ARRIVAL, END = 50_000, 250_000, 100_000
MS = 1_000_000


def recording(seed: int, steps: int = 300, noise: float = 0.0) -> tuple[pa.Table, pa.Table]:
    """Steps of an engine to which requests come, together or one by one, and which is idle at times."""
    chance = np.random.default_rng(seed)
    now, running, ended, rows, arrivals = MS, 0, 0, [], list[int]()
    for _ in range(steps):
        come = int(chance.integers(0, 9)) * int(chance.random() < 0.2) if running else int(chance.integers(1, 9))
        waited = 0 if running else int(chance.integers(0, 50)) * MS + END * ended
        arrivals += [now + waited + number * ARRIVAL for number in range(come)]
        gap = (GAP + ARRIVAL * come + END * ended * (running > 0)) * chance.lognormal(0, noise)
        running += come
        ended = int(chance.integers(0, running + 1)) if chance.random() < 0.3 else 0
        rows.append(
            {
                "start_ns": now + waited + round(gap),
                "gap_ns": waited + round(gap),
                "schedule_ns": 10_000,
                "execute_ns": 2 * MS,
                "update_ns": 10_000,
                "running_requests": running,
                "waiting_requests": 0,
                "deferred_requests": 0,
                "arrived_requests": come,
                "finished_requests": ended,
            }
        )
        running -= ended
        now = rows[-1]["start_ns"] + 2 * MS + 20_000
    return pa.Table.from_pylist(rows), pa.table({"arrival_ns": pa.array(arrivals, pa.int64())})


def test_prices_are_told_apart_from_the_gap_and_from_idle_time() -> None:
    """The time before requests arrive at an idle engine costs nothing, what is done after they came does."""
    found = request_prices([recording(1), recording(2)])
    assert found["arrival"].ns == pytest.approx(ARRIVAL, rel=0.01)
    assert found["end"].ns == pytest.approx(END, rel=0.01)


def test_noise_does_not_shift_them() -> None:
    found = request_prices([recording(seed, noise=0.2) for seed in range(4)])
    assert found["arrival"].ns == pytest.approx(ARRIVAL, rel=0.1)
    assert found["end"].ns == pytest.approx(END, rel=0.2)


def test_only_gaps_between_steps_hold_the_time_of_requests() -> None:
    iterations, _ = recording(3)
    spent = request_ns(iterations, {"arrival": Price(ARRIVAL), "end": Price(END)})
    gap = iterations["gap_ns"].to_numpy()
    held = iterations["running_requests"].to_numpy() - iterations["finished_requests"].to_numpy()
    idle = np.r_[True, held[:-1] == 0]
    assert (spent[idle] == 0).all()
    assert gap[~idle] - spent[~idle] == pytest.approx(GAP, abs=1)


def test_too_few_gaps_tell_nothing() -> None:
    assert request_prices([recording(1, steps=10)]) == {}
