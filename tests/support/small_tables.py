"""Tables of a few rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from engine_probe.record.schema import STREAMS


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of which only some columns are told; the others are zero, empty or null."""

    def blank(field: pa.Field) -> Any:
        if field.nullable:
            return None
        if pa.types.is_list(field.type):
            return []
        return "" if pa.types.is_string(field.type) else 0

    return pa.Table.from_pylist(
        [{field.name: row.get(field.name, blank(field)) for field in STREAMS[name]} for row in rows], STREAMS[name]
    )
