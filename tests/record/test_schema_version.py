"""The schema changes only together with its version."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from engine_probe import InputError
from engine_probe.record.arrow_files import CHECKSUM_KEY, batch_checksum
from engine_probe.record.reader import read_stream
from engine_probe.record.run_json import Complete, Incomplete
from engine_probe.record.schema import READABLE_VERSIONS, SCHEMA_VERSION, SCHEMAS, schema_of_version

# Of every version the last shape it had. Another shape needs another version, and a line of its own here.
SHAPES = {3: "c1bde5762f06414d", 4: "f814f6763e5bcd4b", 5: "15fde9b5dd692a92"}


def shape() -> str:
    """Columns with their types, and the fields of `run.json`; descriptions may change as they like."""
    columns = {
        table: [(field.name, str(field.type), field.nullable) for field in schema] for table, schema in SCHEMAS.items()
    }
    _, fields = msgspec.json.schema_components([Complete, Incomplete])
    for struct in fields.values():
        struct.pop("description", None)
    told = json.dumps([columns, fields], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def test_a_new_shape_has_a_new_version() -> None:
    assert shape() == SHAPES[SCHEMA_VERSION], "raise SCHEMA_VERSION and note the new shape here"


def test_workers_of_version_3_are_read_with_nulls_for_what_they_lack(tmp_path: Path) -> None:
    old, path = schema_of_version("workers", 3), tmp_path / "workers-0.arrows"
    assert len(old) == len(SCHEMAS["workers"]) - 7
    values = {field.name: [7 + place] for place, field in enumerate(old)}
    with path.open("wb") as sink, pa.ipc.new_stream(sink, old) as stream:
        batch = pa.record_batch(values, schema=old)
        stream.write_batch(batch, custom_metadata={CHECKSUM_KEY: batch_checksum(batch)})
    (row,) = read_stream(path, "workers").to_pylist()
    assert {name: [value] for name, value in row.items() if value is not None} == values


@pytest.mark.parametrize("version", [3, 4])
def test_reasons_causes_and_tokens_of_connectors_are_null_in_versions_without_them(
    tmp_path: Path, version: int
) -> None:
    lacking = {
        "iterations": {"waiting_reason", "connector_tokens"},
        "requests": {"connector_tokens"},
        "preemptions": {"cause"},
    }
    for table, names in lacking.items():
        old, path = schema_of_version(table, version), tmp_path / f"{table}.arrows"
        assert {*SCHEMAS[table].names} - {*old.names} == names
        blank = {pa.int32(): 7, pa.int64(): 7, pa.string(): "7"}
        batch = pa.record_batch({field.name: [blank.get(field.type, [7])] for field in old}, schema=old)
        with path.open("wb") as sink, pa.ipc.new_stream(sink, old) as stream:
            stream.write_batch(batch, custom_metadata={CHECKSUM_KEY: batch_checksum(batch)})
        (row,) = read_stream(path, table).to_pylist()
        assert {name for name, value in row.items() if value is None} == names


def test_a_column_that_a_version_must_have_cannot_be_missing(tmp_path: Path) -> None:
    lacking, path = schema_of_version("workers", 3), tmp_path / "workers-0.arrows"
    lacking = lacking.with_metadata(SCHEMAS["workers"].metadata)
    with path.open("wb") as sink, pa.ipc.new_stream(sink, lacking):
        pass
    with pytest.raises(InputError, match="other columns than the table workers"):
        read_stream(path, "workers")


def test_a_first_message_that_was_cut_is_an_empty_table_in_every_version(tmp_path: Path) -> None:
    for version in READABLE_VERSIONS:
        header = schema_of_version("workers", version).serialize().to_pybytes()
        (tmp_path / "cut").write_bytes(header[:-8])
        assert read_stream(tmp_path / "cut", "workers").num_rows == 0
