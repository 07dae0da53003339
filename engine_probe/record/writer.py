"""Rows to disk, off the engine's thread: an Arrow stream that survives `kill -9`, then a file to map.

While the engine runs, each table is an IPC *stream* (`<table>.arrows`) to which batches are appended every fifth of a
second, readable up to the last one whatever happens. A clean close rewrites it as an IPC *file* (`<table>.arrow`) with
large batches, which opens by memory map and reads only the columns asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine_probe.record.arrow_files import CHECKSUM_KEY, STREAM_SUFFIX, WRITE_OPTIONS, batch_checksum, finalise_all
from engine_probe.record.columns import Expander, narrow
from engine_probe.record.outside_values import Misfits, batch_of_columns, batch_of_rows
from engine_probe.record.recorder import Recorder, take_rows, take_until
from engine_probe.record.schema import SCHEMAS, STREAMS

FLUSH_SECONDS, STREAM_ROWS = 0.2, 4_096
EVENTS = ("arrivals", "requests", "preemptions", "telemetry")


class TableStream:
    """One table's growing stream."""

    def __init__(self, folder: Path, table: str, name: str | None = None) -> None:
        self.schema = STREAMS[table]
        self.path = folder / f"{name or table}{STREAM_SUFFIX}"
        self.rows = 0
        self._sink = self.path.open("xb")
        self._stream = pa.ipc.new_stream(self._sink, self.schema, options=WRITE_OPTIONS)
        self._sink.flush()
        self._torn = False

    def write(self, columns: list[Any]) -> None:
        self.append(batch_of_columns(columns, self.schema))

    def append(self, batch: pa.RecordBatch) -> None:
        self._torn = True  # until the batch is whole
        self._stream.write_batch(batch, custom_metadata={CHECKSUM_KEY: batch_checksum(batch)})
        self._sink.flush()
        self._torn = False
        self.rows += batch.num_rows

    def close(self) -> None:
        """End the stream, keeping the file as it is; a torn batch stays its last."""
        try:
            if not self._torn:
                self._stream.close()
        finally:
            self._sink.close()


class Writer:
    """Drains a recorder into a run folder until it is closed. `on_failure` hears of the first error."""

    def __init__(self, recorder: Recorder, folder: Path, on_failure: Callable[[BaseException], None]) -> None:
        self._recorder, self._on_failure = recorder, on_failure
        self.stopping, self._failed = threading.Event(), False
        self._expander, self.misfits = Expander(), Misfits()
        self.tables: dict[str, TableStream] = {}
        with ExitStack() as undo:
            for name in STREAMS.keys() - {"workers"}:
                self.tables[name] = TableStream(folder, name)
                undo.callback(self.tables[name].close)
            pa.array([0])  # loads pandas now, or it would hold up the first flush
            self._thread = threading.Thread(target=self._run, name="engine_probe-writer", daemon=True)
            self._thread.start()
            undo.pop_all()

    def _run(self) -> None:
        try:
            while not self.stopping.wait(FLUSH_SECONDS):
                self.drain()
            self.drain()
        except BaseException as error:
            self._failed = True
            self._on_failure(error)

    def drain(self) -> None:
        """Write what was recorded before now, events first: a step on disk never lacks a row of what it finished."""
        recorder, until = self._recorder, self._recorder.appended
        for name in EVENTS:
            table = self.tables[name]
            while waiting := take_rows(getattr(recorder, name), STREAM_ROWS):
                table.append(batch_of_rows(waiting, table.schema, name, self.misfits))
        while len(rows := recorder.take_iterations(min(STREAM_ROWS, until - recorder.taken))):
            changes = take_until(recorder.changes, recorder.taken)
            finished = take_until(recorder.finished, recorder.taken)
            columns = self._expander.expand(rows, changes, finished, recorder.kv_blocks)
            self.tables["iterations"].write(narrow(columns))

    def close(self, keep_streams: bool = False) -> dict[str, dict[str, int]]:
        """Write the rest and turn the streams into files; returns rows, bytes and checksum of each table.

        After a failure the streams stay as they are: the disk may be full, and they are readable.
        """
        self.stopping.set()
        self._thread.join()
        with ExitStack() as closing:  # each of them, whatever happens to another
            for table in self.tables.values():
                closing.callback(table.close)
        if keep_streams or self._failed:
            return {}
        return finalise_all({name: table.path for name, table in self.tables.items() if name in SCHEMAS})

    def drop_streams(self) -> None:
        """Once `run.json` knows the files."""
        for table in self.tables.values():
            table.path.unlink()  # arrivals too: each has its row, or is counted as in flight
