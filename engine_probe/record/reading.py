"""Reading a run folder back: checked when it was closed cleanly, recovered when it was cut.

Never a wrong table: what cannot be trusted is refused with a sentence, what is missing is named in a note.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine_probe.errors import InputError
from engine_probe.record.closing import FILE_SUFFIX, STREAM_SUFFIX, file_crc32
from engine_probe.record.folder import RECORDING, RUN_FILE, process_started
from engine_probe.record.schema import SCHEMA_VERSION, SCHEMAS, TABLE_KEY, VERSION_KEY

CUT = "cut"


def find_run(path: Path) -> Path:
    """The run folder at `path`, or the only one directly below it."""
    if not path.is_dir():
        raise InputError(f"{path} is no folder: give the folder that a recording was written to")
    if (path / RUN_FILE).is_file():
        return path
    below = sorted(child.parent for child in path.glob(f"*/{RUN_FILE}"))
    if len(below) == 1:
        return below[0]
    if below:
        names = ", ".join(child.name for child in below[:5])
        raise InputError(f"{path} holds {len(below)} runs ({names} ...): name one of them")
    raise InputError(f"{path} holds no {RUN_FILE}: it is not a run folder")


def read_facts(folder: Path) -> dict[str, Any]:
    """`run.json`, of a schema version this code knows."""
    path = folder / RUN_FILE
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): the recording is damaged") from error
    version = facts.get("schema_version") if isinstance(facts, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {version!r}, this engine_probe reads version {SCHEMA_VERSION}: "
            "read it with the engine_probe that wrote it"
        )
    return facts


def run_status(facts: dict[str, Any]) -> str:
    """`recording` only while the process that records is still alive; otherwise that run was cut."""
    status: str = facts["status"]
    if status == RECORDING:
        process = facts["process"]
        if process_started(process["pid"]) != process["started"]:
            return CUT
    return status


def read_table(folder: Path, table: str, facts: dict[str, Any], name: str | None = None) -> pa.Table:
    """One table, from its closed file or, where the run was cut, from its stream up to the last whole batch."""
    closed = folder / f"{name or table}{FILE_SUFFIX}"
    stream = folder / f"{name or table}{STREAM_SUFFIX}"
    try:
        if closed.is_file():
            found = read_closed(closed, facts.get("tables", {}).get(table))
        elif stream.is_file():
            found = recover_stream(stream, table)
        else:
            raise InputError(f"{folder} has no {closed.name} and no {stream.name}: the recording is damaged")
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{folder}: table {table} is damaged ({reason})") from error
    return check_schema(found, table, folder)


def read_closed(path: Path, told: dict[str, int] | None) -> pa.Table:
    """A closed file, compared with the checksum that `run.json` keeps of it."""
    if told is not None and (path.stat().st_size, file_crc32(path)) != (told["bytes"], told["crc32"]):
        raise InputError(f"{path} is not the file that was recorded (size or checksum differ from {RUN_FILE})")
    with pa.memory_map(str(path)) as source:
        found: pa.Table = pa.ipc.open_file(source).read_all()
    found.validate()
    return found


def recover_stream(path: Path, table: str) -> pa.Table:
    """The whole batches of a stream that may end anywhere, even within its first bytes."""
    batches: list[pa.RecordBatch] = []
    schema = SCHEMAS[table]
    with pa.memory_map(str(path)) if path.stat().st_size else pa.BufferReader(b"") as source:
        try:
            stream = pa.ipc.open_stream(source)
        except (pa.ArrowInvalid, EOFError):
            if path.stat().st_size >= _SCHEMA_MESSAGE_BYTES:
                raise
            return schema.empty_table()  # cut before the first message was whole
        schema = stream.schema
        while True:
            try:
                batch = stream.read_next_batch()
                batch.validate(full=True)
            except (StopIteration, pa.ArrowException, OSError):
                break  # the torn last message: everything before it is whole
            batches.append(batch)
    return pa.Table.from_batches(batches, schema)


# Smaller than the smallest schema message: a stream this short was cut while it was being opened.
_SCHEMA_MESSAGE_BYTES = 512


def check_schema(found: pa.Table, table: str, folder: Path) -> pa.Table:
    expected = SCHEMAS[table]
    metadata = found.schema.metadata or {}
    version = metadata.get(VERSION_KEY, b"none").decode(errors="replace")
    if version != str(SCHEMA_VERSION):
        raise InputError(
            f"{folder}: table {table} has schema version {version}, this engine_probe reads {SCHEMA_VERSION}"
        )
    if metadata.get(TABLE_KEY) != table.encode() or not found.schema.equals(expected):
        raise InputError(f"{folder}: the file of table {table} holds other columns: the recording is damaged")
    return found
