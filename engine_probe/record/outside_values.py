"""Rows with values from outside: each is kept as far as its column goes, and what is not kept whole is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine_probe.record.plausibility import ANY_INTEGER

logger = logging.getLogger(__name__)

Row = tuple[Any, ...]
DOES_NOT_FIT = (pa.ArrowException, OverflowError, TypeError, ValueError)


class Misfits:
    """What a recording could not keep as it came; `told` is what `run.json` says of it."""

    def __init__(self) -> None:
        self.values: Counter[str] = Counter()  # table.column: changed so that they fit
        self.rows: Counter[str] = Counter()  # table: left out

    def told(self) -> dict[str, dict[str, int]]:
        return {"values_kept_in_part": dict(self.values), "rows_left_out": dict(self.rows)}


def batch_of_columns(columns: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    for values, field in zip(arrays, schema, strict=True):
        if values.null_count and not field.nullable:
            raise ValueError(f"{field.name} has no value")
    return pa.record_batch(arrays, schema=schema)


def batch_of_rows(rows: list[Row], schema: pa.Schema, table: str, misfits: Misfits) -> pa.RecordBatch:
    """Turn rows into a batch. A value beyond its column is made to fit, and a row that still does not is left out."""
    try:
        return batch_of_columns(list(zip(*rows, strict=True)), schema)
    except DOES_NOT_FIT:
        kept = list(fitting(rows, schema, table, misfits))
        return batch_of_columns(list(zip(*kept, strict=True)) or [[] for _ in schema], schema)


def fitting(rows: list[Row], schema: pa.Schema, table: str, misfits: Misfits) -> Iterator[Row]:
    for row in rows:
        try:
            fitted = tuple(fit(value, field) for value, field in zip(row, schema, strict=True))
            batch_of_columns([[value] for value in fitted], schema).validate(full=True)
        except DOES_NOT_FIT as error:
            if not misfits.rows[table]:
                logger.warning("engine_probe left out a row of %s: %s", table, ascii(error))
            misfits.rows[table] += 1
            continue
        pairs = zip(schema, row, fitted, strict=True)
        misfits.values.update(f"{table}.{field.name}" for field, before, after in pairs if before is not after)
        yield fitted


def fit(value: Any, field: pa.Field) -> Any:
    """Return the value itself where it fits; text with escapes for what UTF-8 cannot hold.

    An integer beyond its column is null where the column may be null, and the nearest one where a client chose it.
    Any other has no true value that the column could hold: it is returned as it is, and its row is left out.
    """
    if isinstance(value, str) and pa.types.is_string(field.type):
        text = value.encode("utf-8", "backslashreplace").decode()
        return value if text == value else text
    if isinstance(value, int) and pa.types.is_integer(field.type):
        most = 2 ** (field.type.bit_width - 1) - 1
        if -most - 1 <= value <= most:
            return value
        if field.nullable:
            return None
        return max(-most - 1, min(most, value)) if field.name in ANY_INTEGER else value
    return value
