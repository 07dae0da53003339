"""Arrow streams rewritten as Arrow files with large batches, and the checksums of both."""

import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

FILE_ROWS = 32_768
# One thread: Arrow's pool would take cores from the engine and memory for each of its threads.
WRITE_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)
STREAM_SUFFIX, FILE_SUFFIX = ".arrows", ".arrow"
CHECKSUM_KEY = b"crc32"  # in the metadata of each batch of a stream


def finalise_all(stream_paths: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """Rewrite all streams at the same time, because each waits for the disk; return the facts of each table."""
    with ThreadPoolExecutor(len(stream_paths)) as pool:
        return dict(zip(stream_paths, pool.map(finalise, stream_paths.values()), strict=True))


def finalise(stream_path: Path) -> dict[str, int]:
    """Rewrite a stream as a file of large batches, in constant memory; return its rows, bytes and checksum.

    The stream must stay until the checksum is in `run.json`, without which a reader cannot trust the file.
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
        temporary.unlink(missing_ok=True)  # on a full disk run.json needs its space
    return {"rows": rows, "bytes": path.stat().st_size, "crc32": file_crc32(path)}


def _rewrite(stream_path: Path, sink: BinaryIO) -> int:
    """Write a stream's rows in batches of at least FILE_ROWS; return their number."""
    rows = num_pending = 0
    pending: list[pa.RecordBatch] = []
    pool = pa.system_memory_pool()  # gives freed memory back: Arrow's own kept 40 MB at the end of a recording
    with (
        pa.OSFile(str(stream_path)) as source,  # a memory map would count as memory of the engine
        pa.ipc.open_stream(source, options=READ_OPTIONS, memory_pool=pool) as stream,
        pa.ipc.new_file(sink, stream.schema, options=WRITE_OPTIONS) as target,
    ):
        for batch in stream:
            pending.append(batch)
            num_pending += batch.num_rows
            if num_pending >= FILE_ROWS:
                target.write_batch(pa.concat_batches(pending, memory_pool=pool))
                rows, num_pending, pending = rows + num_pending, 0, []
        if pending:
            target.write_batch(pa.concat_batches(pending, memory_pool=pool))
    return rows + num_pending


def file_crc32(path: Path) -> int:
    """Return the checksum of a whole file; Arrow IPC has none of its own."""
    checksum = 0
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def batch_checksum(batch: pa.RecordBatch) -> bytes:
    """Return a checksum that depends only on the values, not on compression."""
    return str(zlib.crc32(batch.serialize())).encode()
