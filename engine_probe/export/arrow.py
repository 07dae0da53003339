"""A recording as Parquet or CSV: every row and column, unrounded. Text in a CSV never becomes a spreadsheet formula."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from engine_probe.errors import InputError, UnavailableError

FORMULA = r"\A([=+@'\t\r-])"


def export(tables: Mapping[str, pa.Table], folder: Path, kind: str) -> list[Path]:
    """Write each table into `folder` (new or empty) as `<name>.parquet` or `<name>.csv`."""
    new_folder(folder)
    paths = [folder / f"{name}.{kind}" for name in tables]
    with exporting_into(folder):
        for path, table in zip(paths, tables.values(), strict=True):
            if kind == "parquet":
                pyarrow.parquet.write_table(table, path, compression="zstd")
            else:
                pyarrow.csv.write_csv(without_formulas(flattened(table)), path)
    return paths


def new_folder(folder: Path) -> None:
    """Make the folder with its parents; refuse one that holds files."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file and is never overwritten: name another folder")
    with exporting_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if existing := next(iter(folder.iterdir()), None):
            raise InputError(f"{folder} already holds {existing.name} and is never overwritten: name another folder")


@contextmanager
def exporting_into(folder: Path) -> Iterator[None]:
    """Turn an OSError into a sentence that names the folder."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"cannot export into {folder}: {error.strerror or error}; name another folder"
        ) from error


def without_formulas(table: pa.Table) -> pa.Table:
    """Put a ' before text that a spreadsheet would read as a formula, or that begins with a ' itself."""
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            text = pc.replace_substring_regex(table[field.name], FORMULA, r"'\1")
            table = table.set_column(index, field.name, text)
    return table


def flattened(table: pa.Table) -> pa.Table:
    """Turn lists into JSON text, because a CSV cannot hold lists."""
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            rows = table[field.name].to_pylist()
            text = pa.array([None if values is None else json.dumps(values) for values in rows], pa.string())
            table = table.set_column(index, field.name, text)
    return table
