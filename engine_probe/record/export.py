"""A recording as Parquet or CSV: every row and column, nothing rounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from engine_probe.errors import InputError, UnavailableError


def export(tables: Mapping[str, pa.Table], folder: Path, kind: str) -> list[Path]:
    """Write each table into `folder` (new or empty) as `<name>.parquet` or `<name>.csv`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if taken := next(iter(folder.iterdir()), None):
            raise InputError(f"{folder} already holds {taken.name} and is never overwritten: name another folder")
        paths = [folder / f"{name}.{kind}" for name in tables]
        for path, table in zip(paths, tables.values(), strict=True):
            if kind == "parquet":
                pyarrow.parquet.write_table(table, path, compression="zstd")
            else:
                pyarrow.csv.write_csv(flattened(table), path)
    except OSError as error:
        raise UnavailableError(
            f"cannot export into {folder}: {error.strerror or error}; name another folder"
        ) from error
    return paths


def flattened(table: pa.Table) -> pa.Table:
    """Lists as JSON text: a CSV has no other place for them."""
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            text = pa.array([json.dumps(values) for values in table[field.name].to_pylist()], pa.string())
            table = table.set_column(index, field.name, text)
    return table
