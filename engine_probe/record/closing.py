"""A stream turned into a file to map, and the checksum that tells a damaged one from a true one."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pyarrow as pa

FILE_ROWS = 65_536
COMPRESSION = "zstd"
STREAM_SUFFIX, FILE_SUFFIX = ".arrows", ".arrow"


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
