"""A run small enough to be worked out in one's head."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from tests.support.recordings.small_tables import table

MS = 1_000_000


@pytest.fixture
def iterations() -> Callable[..., pa.Table]:
    """Steps of 10 ms, schedule 1, execute 8, update 1, one right after the other."""

    def make(count: int, **columns: list[int]) -> pa.Table:
        rows = [
            {
                "iteration": index,
                "start_ns": index * 10 * MS,
                "schedule_ns": MS,
                "execute_ns": 8 * MS,
                "update_ns": MS,
                **{name: values[index] for name, values in columns.items()},
            }
            for index in range(count)
        ]
        return table("iterations", rows)

    return make


@pytest.fixture
def requests() -> Callable[..., pa.Table]:
    return lambda *rows: table("requests", list(rows))
