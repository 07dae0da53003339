"""Rows with values that clients chose, which may not fit their columns: altered or left out, and counted."""

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
    """Counts values that did not fit their columns."""

    def __init__(self) -> None:
        self.values: Counter[str] = Counter()  # altered values, by table.column
        self.rows: Counter[str] = Counter()  # rows left out, by table

    def as_facts(self) -> dict[str, dict[str, int]]:
        """Return the counts as `run.json` holds them."""
        return {"values_kept_in_part": dict(self.values), "rows_left_out": dict(self.rows)}


def batch_of_columns(columns: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
    """Turn columns into a batch; raise one of DOES_NOT_FIT for a value that its column cannot hold."""
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    for values, field in zip(arrays, schema, strict=True):
        if values.null_count and not field.nullable:
            raise ValueError(f"{field.name} has no value")
    return pa.record_batch(arrays, schema=schema)


def batch_of_rows(rows: list[Row], schema: pa.Schema, table: str, misfits: Misfits) -> pa.RecordBatch:
    """Turn rows into a batch; alter values that do not fit their column, and leave out rows that still do not fit."""
    try:
        return batch_of_columns(list(zip(*rows, strict=True)), schema)
    except DOES_NOT_FIT:
        rows_that_fit = list(fitting_rows(rows, schema, table, misfits))
        return batch_of_columns(list(zip(*rows_that_fit, strict=True)) or [[] for _ in schema], schema)


def fitting_rows(rows: list[Row], schema: pa.Schema, table: str, misfits: Misfits) -> Iterator[Row]:
    """Yield the rows with values that fit, without those rows that cannot be made to fit."""
    for row in rows:
        try:
            fitting = tuple(fitting_value(value, field) for value, field in zip(row, schema, strict=True))
            batch_of_columns([[value] for value in fitting], schema).validate(full=True)
        except DOES_NOT_FIT as error:
            if not misfits.rows[table]:
                logger.warning("engine_probe left out a row of %s: %s", table, ascii(error))
            misfits.rows[table] += 1
            continue
        pairs = zip(schema, row, fitting, strict=True)
        misfits.values.update(f"{table}.{field.name}" for field, before, after in pairs if before is not after)
        yield fitting


def fitting_value(value: Any, field: pa.Field) -> Any:
    """Return the value if it fits, else a value that does: text is escaped where UTF-8 cannot hold it.

    An integer beyond the column's range becomes null in a nullable column, and the nearest integer in a column of
    ANY_INTEGER. Any other is returned unchanged, because no value that fits would be true; its row is left out.
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
