"""A stream turned into a file to map, and the checksum that tells a damaged one from a true one."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

FILE_ROWS = 32_768
# On one thread: Arrow's pool would take cores from the engine, and keep a heap for each of its threads.
WRITE_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)
STREAM_SUFFIX, FILE_SUFFIX = ".arrows", ".arrow"
CHECKSUM_KEY = b"crc32"  # of each batch of a stream, in the metadata of its message


def finalise_all(stream_paths: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """All at once: on a busy disk each waits for its turn to be written out, and so they wait together."""
    with ThreadPoolExecutor(len(stream_paths)) as pool:
        return dict(zip(stream_paths, pool.map(finalise, stream_paths.values()), strict=True))


def finalise(stream_path: Path) -> dict[str, int]:
    """Rewrite a stream as a file of large batches, in constant memory.

    The stream stays until `run.json` knows the checksum of the file: without it nobody could trust the file.
    """
    path = stream_path.with_suffix(FILE_SUFFIX)
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as sink:
            rows = _rewrite(stream_path, sink)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk the last words of the run need its place
    return {"rows": rows, "bytes": path.stat().st_size, "crc32": file_crc32(path)}


def _rewrite(stream_path: Path, sink: BinaryIO) -> int:
    """The rows of a stream in batches of at least FILE_ROWS; returns how many there are."""
    rows = waiting = 0
    pending: list[pa.RecordBatch] = []
    with (
        pa.OSFile(str(stream_path)) as source,  # a mapped file would count as memory of the engine
        pa.ipc.open_stream(source, options=READ_OPTIONS) as stream,
        pa.ipc.new_file(sink, stream.schema, options=WRITE_OPTIONS) as target,
    ):
        for batch in stream:
            pending.append(batch)
            waiting += batch.num_rows
            if waiting >= FILE_ROWS:
                target.write_batch(pa.concat_batches(pending))
                rows, waiting, pending = rows + waiting, 0, []
        if pending:
            target.write_batch(pa.concat_batches(pending))
    return rows + waiting


def file_crc32(path: Path) -> int:
    """Checksum of a whole file: Arrow IPC has none of its own, and a damaged table must not pass for a true one."""
    checksum = 0
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def batch_checksum(batch: pa.RecordBatch) -> bytes:
    """The same for the same values, whether they come from memory or out of a compressed stream."""
    return str(zlib.crc32(batch.serialize())).encode()
