"""Rows to disk, off the engine's thread: an Arrow stream that survives `kill -9`, then a file to map.

While the engine runs, each table is an IPC *stream* (`<table>.arrows`): batches appended at least every
quarter of a second, readable up to the last one whatever happens. A clean close rewrites it as an IPC *file*
(`<table>.arrow`) with large batches, which opens by memory map and reads only the columns asked for.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine_probe.record.recorder import Recorder
from engine_probe.record.schema import SCHEMAS

FLUSH_SECONDS = 0.25
STREAM_ROWS = 4_096
FILE_ROWS = 65_536
COMPRESSION = "zstd"

STREAM_SUFFIX, FILE_SUFFIX = ".arrows", ".arrow"


class TableStream:
    """One table's growing stream."""

    def __init__(self, folder: Path, table: str, name: str | None = None) -> None:
        self.schema = SCHEMAS[table]
        self.path = folder / f"{name or table}{STREAM_SUFFIX}"
        self.rows = 0
        self._sink = self.path.open("xb")
        options = pa.ipc.IpcWriteOptions(compression=COMPRESSION)
        self._stream = pa.ipc.new_stream(self._sink, self.schema, options=options)
        self._sink.flush()

    def write(self, columns: list[Any]) -> None:
        arrays = [pa.array(values, type=field.type) for values, field in zip(columns, self.schema, strict=True)]
        batch = pa.record_batch(arrays, schema=self.schema)
        self._stream.write_batch(batch)
        self._sink.flush()
        self.rows += batch.num_rows

    def close(self) -> None:
        """End the stream, keeping the file as it is."""
        try:
            self._stream.close()
        finally:
            self._sink.close()


class Writer:
    """Drains a recorder into a run folder until it is closed. `on_failure` hears of the first error."""

    def __init__(self, recorder: Recorder, folder: Path, on_failure: Callable[[BaseException], None]) -> None:
        self._recorder = recorder
        self._on_failure = on_failure
        self._stop = threading.Event()
        self.tables = {name: TableStream(folder, name) for name in SCHEMAS if name != "workers"}
        self._thread = threading.Thread(target=self._run, name="engine_probe-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(FLUSH_SECONDS):
                self.drain()
            self.drain()
        except BaseException as error:
            self._on_failure(error)

    def drain(self) -> None:
        """Write everything that has been recorded so far."""
        while len(rows := self._recorder.take_iterations(STREAM_ROWS)):
            self.tables["iterations"].write(narrow_columns(rows, self.tables["iterations"].schema))
        for name in ("requests", "preemptions", "telemetry"):
            if waiting := take_all(getattr(self._recorder, name)):
                self.tables[name].write(list(zip(*waiting, strict=True)))

    def close(self, keep_streams: bool = False) -> dict[str, dict[str, int]]:
        """Write the rest and turn the streams into files; returns rows, bytes and checksum of each table.

        After a failure the streams stay as they are: the disk may be full, and they are readable.
        """
        self._stop.set()
        self._thread.join()
        for table in self.tables.values():
            table.close()
        if keep_streams:
            return {}
        return {name: finalise(table.path) for name, table in self.tables.items()}


def take_all(waiting: deque[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Empty a deque that another thread appends to."""
    return [waiting.popleft() for _ in range(len(waiting))]


def narrow_columns(rows: npt.NDArray[np.int64], schema: pa.Schema) -> list[npt.NDArray[Any]]:
    """The packed rows as columns of the schema's types; a value that does not fit raises."""
    columns: list[npt.NDArray[Any]] = []
    for index, field in enumerate(schema):
        wide = np.ascontiguousarray(rows[:, index])
        narrow = wide.astype(field.type.to_pandas_dtype())
        if narrow.dtype != wide.dtype and not np.array_equal(narrow, wide):
            raise OverflowError(f"iterations.{field.name} holds a value beyond {field.type}")
        columns.append(narrow)
    return columns


def finalise(stream_path: Path) -> dict[str, int]:
    """Rewrite a stream as a file of large batches, in constant memory; the stream goes when the file is safe."""
    path = stream_path.with_suffix(FILE_SUFFIX)
    temporary = path.with_suffix(".tmp")
    options = pa.ipc.IpcWriteOptions(compression=COMPRESSION)
    rows = 0
    with pa.memory_map(str(stream_path)) as source, temporary.open("wb") as sink:
        stream = pa.ipc.open_stream(source)
        with pa.ipc.new_file(sink, stream.schema, options=options) as target:
            pending: list[pa.RecordBatch] = []
            for batch in stream:
                rows += batch.num_rows
                pending.append(batch)
                if sum(b.num_rows for b in pending) >= FILE_ROWS:
                    target.write_batch(pa.concat_batches(pending))
                    pending = []
            if pending:
                target.write_batch(pa.concat_batches(pending))
        sink.flush()
        os.fsync(sink.fileno())
    temporary.replace(path)
    stream_path.unlink()
    return {"rows": rows, "bytes": path.stat().st_size, "crc32": file_crc32(path)}


def file_crc32(path: Path) -> int:
    """Checksum of a whole file: Arrow IPC has none of its own, and a damaged table must not pass for a true one."""
    checksum = 0
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
