"""Reading a run folder: tables that were closed are checked, those of a cut recording are recovered.

A table that cannot be trusted is refused in one sentence.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_json, reason, regular_size
from engine_probe.record.arrow_files import CHECKSUM_KEY, FILE_SUFFIX, STREAM_SUFFIX, batch_checksum, file_crc32
from engine_probe.record.expanded_size import check_expansion, memory_bytes
from engine_probe.record.plausibility import first_impossible_value
from engine_probe.record.run_folder import COMPLETE, RECORDING, RUN_FILE, process_started
from engine_probe.record.run_json import READABLE_TEXT, first_problem
from engine_probe.record.schema import (
    ADDED_SCHEMAS,
    RANK_TABLES,
    READABLE_VERSIONS,
    STREAMS,
    TABLE_KEY,
    VERSION_KEY,
    schema_of_version,
)

MOST_DRIFT = 1e-3  # real clocks differ by some 1e-5; beyond this an anchor is not to be trusted
CUT = "cut"
FILE_START = 8  # where the messages of a closed file begin, after Arrow's magic bytes


def find_run(path: Path) -> Path:
    """Return the run folder at `path`, or the only one directly below it."""
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: give the folder that a recording was written to")
    if (path / RUN_FILE).is_file():
        return path
    runs = sorted(child.parent for child in path.glob(f"*/{RUN_FILE}"))
    if len(runs) == 1:
        return runs[0]
    if runs:
        names = ", ".join(run.name for run in runs[:5])
        raise InputError(f"{path} holds {len(runs)} runs ({names} ...): name one of them")
    if deeper := next(iter(sorted(path.glob(f"*/*/{RUN_FILE}"))), None):
        example = deeper.parent.relative_to(path)
        raise InputError(
            f"{path} is not a run but holds runs, such as {example}: name one of them (load_sweep opens a whole sweep)"
        )
    raise InputError(f"{path} holds no {RUN_FILE}: give the folder that a recording was written to")


def read_facts(folder: Path) -> dict[str, Any]:
    """Read `run.json`; refuse an unknown schema version, and a file without the keys that readers rely on."""
    path = folder / RUN_FILE
    try:
        facts: dict[str, Any] = read_json(path)
    except InputError as error:
        raise InputError(f"{error}: the recording is damaged") from error
    if problem := first_problem(facts):
        raise InputError(f"{path}: {problem}: read it with the engine_probe that wrote it, if it is not damaged")
    return facts


def run_status(facts: dict[str, Any]) -> str:
    """Return the status, with `cut` in place of `recording` if the recording process is gone."""
    status: str = facts["status"]
    if status == RECORDING:
        process = facts["process"]
        if process_started(process["pid"]) != process["started"]:
            return CUT
    return status


def read_table(folder: Path, table: str, facts: dict[str, Any]) -> pa.Table:
    """Read a table; empty if the recording is older than it. What each rank wrote is sorted by iteration and rank.

    It comes from its closed file if `run.json` has its checksum, else from the whole batches of its stream. The ranks'
    device times are put on the host's clock.
    """
    if table not in RANK_TABLES and not has_table(folder, table, facts):
        return ADDED_SCHEMAS[table].empty_table()
    rows = (_read_ranks if table in RANK_TABLES else _read_table)(folder, table, facts)
    if problem := first_impossible_value(table, rows, facts):
        raise InputError(f"{folder}: the table {table} holds an impossible value ({problem}): the recording is damaged")
    return rows


def has_table(folder: Path, table: str, facts: dict[str, Any]) -> bool:
    """Return whether a recording has this table; only those made before it was added have no trace of it."""
    files = (folder / f"{table}{suffix}" for suffix in (STREAM_SUFFIX, FILE_SUFFIX))
    return table not in ADDED_SCHEMAS or table in facts.get("tables", {}) or any(file.exists() for file in files)


def _read_table(folder: Path, table: str, facts: dict[str, Any]) -> pa.Table:
    recorded: dict[str, int] | None = facts.get("tables", {}).get(table)
    if recorded is None:
        return read_stream(folder / f"{table}{STREAM_SUFFIX}", table)
    path = folder / f"{table}{FILE_SUFFIX}"
    with _damage_named(path):
        if (size := regular_size(path)) > memory_bytes():
            raise ValueError(f"it has {size:,} bytes, more than this machine's memory")
        if size != recorded["bytes"] or file_crc32(path) != recorded["crc32"]:
            raise InputError(f"{path} is not the file that was recorded: size or checksum differ from {RUN_FILE}")
        rows = _read_closed(path, table)
    if rows.num_rows != (expected := recorded["rows"]):
        raise InputError(f"{path} holds {rows.num_rows:,} rows, and {RUN_FILE} says {expected:,}: it is damaged")
    return rows


def _read_closed(path: Path, table: str) -> pa.Table:
    """Read a file's messages in their order, without following the offsets in its footer."""
    with pa.memory_map(str(path)) as source:
        source.seek(FILE_START)
        check_expansion(source, source.size())
        source.seek(FILE_START)
        stream = _opened(source, table, path)
        return _validated(pa.Table.from_batches(stream, stream.schema), table)


def _read_ranks(folder: Path, table: str, facts: dict[str, Any]) -> pa.Table:
    """Read the streams of all ranks, in the order of steps; of a cut recording, those that are there."""
    ranks = {rank["rank"]: rank for rank in facts.get("workers", {}).get("ranks", ())}
    expected = {number: rows for number, rank in ranks.items() if (rows := _rows_written(rank, table)) is not None}
    paths = {number: folder / f"{table}-{number}{STREAM_SUFFIX}" for number in expected}
    paths = paths or dict(enumerate(sorted(folder.glob(f"{table}-*{STREAM_SUFFIX}"))))
    tables = {number: read_stream(path, table) for number, path in paths.items()}
    total = sum(expected.values())
    if expected and facts["status"] == COMPLETE and sum(rows.num_rows for rows in tables.values()) != total:
        raise InputError(f"{folder}: {RUN_FILE} says {total} rows of {table}, their files hold another number")
    if table == "workers":
        clocks = {number: rank.get("device_clock") for number, rank in ranks.items()}
        tables = {number: on_host_clock(rows, clocks.get(number)) for number, rows in tables.items()}
    rows = pa.concat_tables([*tables.values(), STREAMS[table].empty_table()])
    in_order = [("iteration", "ascending"), ("rank", "ascending")]
    return rows.sort_by(in_order) if "iteration" in rows.column_names else rows


def _rows_written(rank: dict[str, Any], table: str) -> int | None:
    """Return how many rows a rank wrote, by what `run.json` says of it. None if it has no such table."""
    profiled = rank.get("operators") or {}
    rows: dict[str, int | None] = {
        "workers": rank["rows"],
        "operators": profiled.get("rows"),
        "operator_slices": profiled.get("slices"),
        "collectives": rank.get("collectives"),
    }
    return rows[table]


def read_in_flight(folder: Path, requests: pa.Table, facts: dict[str, Any]) -> pa.Table:
    """Return the arrivals without a row in `requests`; a closed recording only has their number."""
    path = folder / f"arrivals{STREAM_SUFFIX}"
    if not path.exists() and facts["status"] != RECORDING and facts["close"].get("requests_in_flight_at_close") == 0:
        return STREAMS["arrivals"].empty_table()
    if not path.exists():
        raise InputError(
            f"{folder} does not say which requests were in flight: {path.name} is kept only if a run was cut short"
        )
    arrivals, num_finished = read_stream(path, "arrivals"), Counter(requests["request_id"].to_pylist())
    in_flight = [True] * arrivals.num_rows
    for row, request_id in enumerate(arrivals["request_id"].to_pylist()):
        if num_finished[request_id]:  # an id may be used again: its earlier arrivals are the finished ones
            num_finished[request_id] -= 1
            in_flight[row] = False
    return arrivals.filter(pa.array(in_flight, pa.bool_()))


def read_stream(path: Path, table: str) -> pa.Table:
    """Read the whole batches of a stream that may end anywhere, even within its first message."""
    with _damage_named(path):
        regular_size(path)
        with path.open("rb") as file:
            if _is_torn_header(file, table):
                return STREAMS[table].empty_table()
        with pa.memory_map(str(path)) as source:
            check_expansion(source, source.size())
            source.seek(0)
            stream = _opened(source, table, path)
            batches = list(_whole_batches(stream, path))
        return _validated(pa.Table.from_batches(batches, stream.schema), table)


def _is_torn_header(file: BinaryIO, table: str) -> bool:
    """Return whether a stream ends within its first message, which holds the schema."""
    headers = _headers(table)
    start = file.read(max(map(len, headers)))
    return any(len(start) < len(header) and header.startswith(start) for header in headers)


@cache
def _headers(table: str) -> tuple[bytes, ...]:
    """Return the first message of a stream in each readable version."""
    return tuple(schema_of_version(table, version).serialize().to_pybytes() for version in READABLE_VERSIONS)


def _whole_batches(stream: pa.RecordBatchStreamReader, path: Path) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch, metadata = stream.read_next_batch_with_custom_metadata()
            batch.validate(full=True)
        except (StopIteration, pa.ArrowException, OSError):
            return  # the last message is torn; everything before it is whole
        if (metadata or {}).get(CHECKSUM_KEY) != batch_checksum(batch):
            raise InputError(f"{path} is damaged: a batch of rows differs from its checksum")
        yield batch


def _opened(source: Any, table: str, path: Path) -> pa.RecordBatchStreamReader:
    """Open a stream; refuse another schema version and other columns before any row is read."""
    stream = pa.ipc.open_stream(source)
    metadata = stream.schema.metadata or {}
    version = metadata.get(VERSION_KEY, b"none").decode(errors="replace")
    known = next((number for number in READABLE_VERSIONS if version == str(number)), None)
    if known is None:
        raise InputError(f"{path} has schema version {version!r}, this engine_probe reads {READABLE_TEXT}")
    if metadata.get(TABLE_KEY) != table.encode() or not stream.schema.equals(schema_of_version(table, known)):
        raise InputError(f"{path} holds other columns than the table {table}: the recording is damaged")
    return stream


def _validated(rows: pa.Table, table: str) -> pa.Table:
    """Let Arrow check every offset and character; return the rows with the schema of this code."""
    rows.validate(full=True)
    recorded = set(rows.column_names)  # once: Arrow makes the whole list each time
    for place, field in enumerate(STREAMS[table]):
        if field.name not in recorded:  # an older recording
            rows = rows.add_column(place, field, pa.nulls(rows.num_rows, field.type))
    for field in rows.schema:
        if pa.types.is_list(field.type) and any(chunk.flatten().null_count for chunk in rows[field.name].chunks):
            raise ValueError(f"a list in {field.name} holds a null")
    return rows.cast(STREAMS[table])


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn errors of Arrow and the file system into a sentence that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: the recording is damaged") from error
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} is damaged ({reason(error)})") from error


def on_host_clock(rows: pa.Table, clock: dict[str, Any] | None) -> pa.Table:
    """Return one rank's rows with device_start_ns on the host's clock, between the two anchors in proportion."""
    if clock is None or clock["end"] is None or not rows.num_rows:
        return rows
    begin, end = clock["begin"], clock["end"]
    host, device = end["host_ns"] - begin["host_ns"], end["device_ns"] - begin["device_ns"]
    if device <= 0 or abs(host / device - 1) > MOST_DRIFT:
        return rows
    place = rows.schema.get_field_index("device_start_ns")
    starts = rows["device_start_ns"]
    since = starts.fill_null(begin["device_ns"]).to_numpy() - begin["device_ns"]
    moved = begin["host_ns"] + since + np.rint(since * (host / device - 1)).astype(np.int64)
    return rows.set_column(place, rows.schema.field(place), pa.array(moved, mask=starts.is_null().to_numpy()))
