"""A run small enough to be worked out in one's head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.record.schema import SCHEMAS

MS = 1_000_000


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of which only some columns are told; the others are zero, empty or null."""

    def blank(field: pa.Field) -> Any:
        if field.nullable:
            return None
        if pa.types.is_list(field.type):
            return []
        return "" if pa.types.is_string(field.type) else 0

    return pa.Table.from_pylist(
        [{field.name: row.get(field.name, blank(field)) for field in SCHEMAS[name]} for row in rows], SCHEMAS[name]
    )


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
