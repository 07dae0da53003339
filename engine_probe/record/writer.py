"""The thread that appends rows to one Arrow stream per table, which stays readable after `kill -9`."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine_probe.record.arrow_files import CHECKSUM_KEY, STREAM_SUFFIX, WRITE_OPTIONS, batch_checksum, finalise_all
from engine_probe.record.columns import Expander, narrow
from engine_probe.record.host_events import WRITER, note_busy
from engine_probe.record.outside_values import Misfits, batch_of_columns, batch_of_rows
from engine_probe.record.recorder import Recorder, take_rows, take_until
from engine_probe.record.schema import RANK_TABLES, STREAMS, TABLES

FLUSH_SECONDS, STREAM_ROWS = 0.2, 4_096
EVENTS = ("arrivals", "requests", "preemptions", "telemetry", "host_events", "drafts", "answers")


class TableStream:
    """Appends batches to one table's stream."""

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
        self._torn = True  # until the whole batch is written
        self._stream.write_batch(batch, custom_metadata={CHECKSUM_KEY: batch_checksum(batch)})
        self._sink.flush()
        self._torn = False
        self.rows += batch.num_rows

    def close(self) -> None:
        """End the stream; if its last batch is torn, only close the file."""
        try:
            if not self._torn:
                self._stream.close()
        finally:
            self._sink.close()


class Writer:
    """Writes a recorder's rows into a run folder until it is closed; the first error goes to `on_failure`."""

    def __init__(self, recorder: Recorder, folder: Path, on_failure: Callable[[BaseException], None]) -> None:
        self._recorder, self._on_failure = recorder, on_failure
        self.stopping, self._failed = threading.Event(), False
        self._expander, self.misfits = Expander(), Misfits()
        self.tables: dict[str, TableStream] = {}
        with ExitStack() as undo:
            for name in STREAMS.keys() - set(RANK_TABLES):
                self.tables[name] = TableStream(folder, name)
                undo.callback(self.tables[name].close)
            pa.array([0])  # loads pandas now, which would delay the first flush
            self._thread = threading.Thread(target=self._run, name="engine_probe-writer", daemon=True)
            self._thread.start()
            undo.pop_all()

    def _run(self) -> None:
        try:
            while not self.stopping.wait(FLUSH_SECONDS):
                note_busy(self._recorder.host_events, WRITER, self.drain)
            self.drain()
        except BaseException as error:
            self._failed = True
            self._on_failure(error)

    def drain(self) -> None:
        """Write all rows so far, events first, so that every request that a step on disk finished has its row."""
        recorder, until = self._recorder, self._recorder.taken + len(self._recorder.iterations)
        for name in EVENTS:
            table = self.tables[name]
            while taken := take_rows(getattr(recorder, name), STREAM_ROWS):
                table.append(batch_of_rows(taken, table.schema, name, self.misfits))
        while len(rows := recorder.take_iterations(min(STREAM_ROWS, until - recorder.taken))):
            changes, ended = (take_until(notes, recorder.taken) for notes in (recorder.changes, recorder.finished))
            columns = self._expander.expand(rows, changes, ended, recorder.kv_blocks)
            self.tables["iterations"].write(narrow(columns))

    def close(self, keep_streams: bool = False) -> dict[str, dict[str, int]]:
        """Write the rest, turn the streams into files (not after a failure) and return the facts of each file."""
        self.stopping.set()
        self._thread.join()
        with ExitStack() as closing:  # closes every stream, even if one of them fails
            for table in self.tables.values():
                closing.callback(table.close)
        if keep_streams or self._failed:
            return {}
        return finalise_all({name: table.path for name, table in self.tables.items() if name in TABLES})

    def drop_streams(self) -> None:
        """Delete the streams; call it once `run.json` holds the checksums of the files."""
        for table in self.tables.values():
            table.path.unlink()  # arrivals too: each has its row in requests, or is counted as in flight
