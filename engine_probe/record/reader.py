"""Reading a run folder back: checked when it was closed cleanly, recovered when it was cut.

Never a wrong table: what cannot be trusted is refused with a sentence, what is missing is named in a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_json, reason, regular_size
from engine_probe.record.arrow_files import CHECKSUM_KEY, FILE_SUFFIX, STREAM_SUFFIX, batch_checksum, file_crc32
from engine_probe.record.expanded_size import check_expansion, memory_bytes
from engine_probe.record.plausibility import impossible
from engine_probe.record.run_folder import COMPLETE, RECORDING, RUN_FILE, process_started
from engine_probe.record.run_json import what_is_wrong
from engine_probe.record.schema import SCHEMA_VERSION, SCHEMAS, STREAMS, TABLE_KEY, VERSION_KEY

CUT = "cut"
FILE_START = 8  # of the messages in a closed file, after Arrow's magic


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
    if deeper := next(iter(sorted(path.glob(f"*/*/{RUN_FILE}"))), None):
        near = deeper.parent.relative_to(path)
        raise InputError(
            f"{path} is no run but holds some, as {near}: name one of them (load_sweep opens a whole sweep)"
        )
    raise InputError(f"{path} holds no {RUN_FILE}: it is not a run folder")


def read_facts(folder: Path) -> dict[str, Any]:
    """`run.json`, of a schema version this code knows, with every key that readers rely on."""
    path = folder / RUN_FILE
    try:
        facts: dict[str, Any] = read_json(path)
    except InputError as error:
        raise InputError(f"{error}: the recording is damaged") from error
    if wrong := what_is_wrong(facts):
        raise InputError(f"{path}: {wrong}: read it with the engine_probe that wrote it, if it is not damaged")
    return facts


def run_status(facts: dict[str, Any]) -> str:
    """`recording` only while the process that records is still alive; otherwise that run was cut."""
    status: str = facts["status"]
    if status == RECORDING:
        process = facts["process"]
        if process_started(process["pid"]) != process["started"]:
            return CUT
    return status


def read_table(folder: Path, table: str, facts: dict[str, Any]) -> pa.Table:
    """One table: from its closed file where `run.json` knows it, else from its stream up to the last whole batch."""
    return _as_possible(_read_table(folder, table, facts), table, folder, facts)


def _read_table(folder: Path, table: str, facts: dict[str, Any]) -> pa.Table:
    told: dict[str, int] | None = facts.get("tables", {}).get(table)
    if told is None:
        return read_stream(folder / f"{table}{STREAM_SUFFIX}", table)
    path = folder / f"{table}{FILE_SUFFIX}"
    with _named_as_damaged(path):
        if (size := regular_size(path)) > memory_bytes():
            raise ValueError(f"it has {size:,} bytes, more than this machine's memory")
        if size != told["bytes"] or file_crc32(path) != told["crc32"]:
            raise InputError(f"{path} is not the file that was recorded: size or checksum differ from {RUN_FILE}")
        rows = _read_closed(path, table)
    if rows.num_rows != told["rows"]:
        raise InputError(f"{path} holds {rows.num_rows:,} rows, and {RUN_FILE} says {told['rows']:,}: it is damaged")
    return rows


def _read_closed(path: Path, table: str) -> pa.Table:
    """Read a file's messages in their order, so that no offset in its footer is followed."""
    with pa.memory_map(str(path)) as source:
        source.seek(FILE_START)
        check_expansion(source, source.size())
        source.seek(FILE_START)
        stream = _opened(source, table, path)
        return _as_known(pa.Table.from_batches(stream, stream.schema), table)


def read_workers(folder: Path, facts: dict[str, Any]) -> pa.Table:
    """Every rank's steps, in the order of iterations."""
    told = {rank["rank"]: rank["rows"] for rank in facts.get("workers", {}).get("ranks", ())}
    paths = [folder / f"workers-{rank}{STREAM_SUFFIX}" for rank in told]
    tables = [SCHEMAS["workers"].empty_table()]
    for path in paths or sorted(folder.glob(f"workers-*{STREAM_SUFFIX}")):
        tables.append(read_stream(path, "workers"))
    if told and facts["status"] == COMPLETE and sum(table.num_rows for table in tables) != sum(told.values()):
        raise InputError(f"{folder}: {RUN_FILE} promises {sum(told.values())} rows of workers, their files hold fewer")
    rows = pa.concat_tables(tables).sort_by([("iteration", "ascending"), ("rank", "ascending")])
    return _as_possible(rows, "workers", folder, facts)


def read_in_flight(folder: Path, requests: pa.Table, facts: dict[str, Any]) -> pa.Table:
    """Arrivals without a row in `requests`. A closed recording keeps only how many there were."""
    path = folder / f"arrivals{STREAM_SUFFIX}"
    if not path.exists() and facts["status"] != RECORDING and facts["close"].get("requests_in_flight_at_close") == 0:
        return STREAMS["arrivals"].empty_table()
    if not path.exists():
        raise InputError(
            f"{folder} does not tell who was in flight: {path.name} is kept only where a run was cut short"
        )
    came, left = read_stream(path, "arrivals"), Counter(requests["request_id"].to_pylist())
    still = [True] * came.num_rows
    for row, request_id in enumerate(came["request_id"].to_pylist()):
        if left[request_id]:  # an id that was used again left as often as it came, but the last time
            left[request_id] -= 1
            still[row] = False
    return came.filter(pa.array(still, pa.bool_()))


def read_stream(path: Path, table: str) -> pa.Table:
    """The whole batches of a stream that may end anywhere, even within its first bytes."""
    with _named_as_damaged(path):
        regular_size(path)
        with path.open("rb") as file:
            header = STREAMS[table].serialize().to_pybytes()  # what every stream of this table begins with
            if len(begin := file.read(len(header))) < len(header) and header.startswith(begin):
                return STREAMS[table].empty_table()  # cut before the first message was whole
        with pa.memory_map(str(path)) as source:
            check_expansion(source, source.size())
            source.seek(0)
            stream = _opened(source, table, path)
            batches = list(_whole_batches(stream, path))
        return _as_known(pa.Table.from_batches(batches, stream.schema), table)


def _whole_batches(stream: pa.RecordBatchStreamReader, path: Path) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch, metadata = stream.read_next_batch_with_custom_metadata()
            batch.validate(full=True)
        except (StopIteration, pa.ArrowException, OSError):
            return  # the torn last message: everything before it is whole
        if (metadata or {}).get(CHECKSUM_KEY) != batch_checksum(batch):
            raise InputError(f"{path} is damaged: a batch of rows differs from its checksum")
        yield batch


def _opened(source: Any, table: str, path: Path) -> pa.RecordBatchStreamReader:
    """Read the schema, and refuse columns that are not the table's before any row is read."""
    stream = pa.ipc.open_stream(source)
    metadata = stream.schema.metadata or {}
    version = metadata.get(VERSION_KEY, b"none").decode(errors="replace")
    if version != str(SCHEMA_VERSION):
        raise InputError(f"{path} has schema version {version!r}, this engine_probe reads {SCHEMA_VERSION}")
    if metadata.get(TABLE_KEY) != table.encode() or not stream.schema.equals(STREAMS[table]):
        raise InputError(f"{path} holds other columns than the table {table}: the recording is damaged")
    return stream


def _as_known(found: pa.Table, table: str) -> pa.Table:
    """Return rows that Arrow has checked to the last offset and character, with the schema of this code."""
    found.validate(full=True)
    for field in found.schema:
        if pa.types.is_list(field.type) and any(chunk.flatten().null_count for chunk in found[field.name].chunks):
            raise ValueError(f"a list in {field.name} holds a null")
    return found.cast(STREAMS[table])


def _as_possible(rows: pa.Table, table: str, folder: Path, facts: dict[str, Any]) -> pa.Table:
    if wrong := impossible(table, rows, facts):
        raise InputError(f"{folder}: the table {table} holds what cannot be ({wrong}): the recording is damaged")
    return rows


@contextmanager
def _named_as_damaged(path: Path) -> Iterator[None]:
    """What Arrow and the file system have to say about a file, in a sentence that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: the recording is damaged") from error
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} is damaged ({reason(error)})") from error
