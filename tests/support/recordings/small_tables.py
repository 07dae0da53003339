"""Tables of a few rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from engine_probe.record.schema import STREAMS


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of which only some columns are told; the others are zero, empty or null."""
    schema = STREAMS[name]
    columns = []
    for field in schema:
        other = blank(field)
        columns.append(pa.array([row.get(field.name, other) for row in rows], field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def blank(field: pa.Field) -> Any:
    """Return what stands in a column that no row tells."""
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    return "" if pa.types.is_string(field.type) else 0
