"""The schema changes only together with its version."""

from __future__ import annotations

import hashlib
import json

import msgspec

from engine_probe.record.run_json import Complete, Incomplete
from engine_probe.record.schema import SCHEMA_VERSION, SCHEMAS

# Of every version the last shape it had. Another shape needs another version, and a line of its own here.
SHAPES = {3: "c1bde5762f06414d"}


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
