"""Reading a stream while it grows: only what is new, each time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa


class Follower:
    """The batches of one `.arrows` file as they are appended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._schema: pa.Schema | None = None

    def new_batches(self) -> list[pa.RecordBatch]:
        """Whole batches that came since the last call; none while there is no file, or no longer."""
        try:
            source = pa.OSFile(str(self._path))
        except FileNotFoundError:
            return []
        batches = []
        with source:
            source.seek(self._read_bytes)
            while message := whole_message(source):
                if self._schema is None:
                    self._schema = pa.ipc.read_schema(message)
                else:
                    batches.append(pa.ipc.read_record_batch(message, self._schema))
                self._read_bytes = source.tell()
        return batches


def whole_message(source: pa.NativeFile) -> pa.Message | None:
    """None at the end, and where the writer is in the middle of one."""
    try:
        return pa.ipc.read_message(source)
    except (EOFError, OSError, pa.ArrowInvalid):
        return None
