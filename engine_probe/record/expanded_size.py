"""The decompressed size of an Arrow stream, read from its messages before anything is decompressed."""

import os
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

MIB = 2**20
MAX_EXPANSION = 256  # real recordings expand 10 to 70 times
ALWAYS_ALLOWED_BYTES = 64 * MIB
NOT_COMPRESSED = -1  # Arrow's mark in place of a buffer's length


def memory_bytes() -> int:
    """Return the size of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_expansion(source: Any, size_bytes: int) -> None:
    """Raise ValueError if the record batches from here on would take more memory than a recording of this size can."""
    limit = min(ALWAYS_ALLOWED_BYTES + MAX_EXPANSION * size_bytes, memory_bytes())
    total = 0
    for message in _whole_messages(source):
        if message.type == "schema":
            continue
        if message.type != "record batch":
            raise ValueError(f"it holds a {message.type}, and a recording has none")
        try:
            total += batch_bytes(message.metadata, message.body)
        except struct.error as error:
            raise ValueError("the description of a batch of rows points outside it") from error
        if total > limit:
            raise ValueError(f"{size_bytes:,} bytes would expand to more than {limit:,}")


def _whole_messages(source: Any) -> Iterator[pa.Message]:
    """Yield messages up to a torn one, which the reader of the rows handles."""
    reader = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            yield reader.read_next_message()
        except (StopIteration, pa.ArrowException, OSError):
            return


def batch_bytes(metadata: pa.Buffer, body: pa.Buffer) -> int:
    """Return the sum of the lengths of a batch's buffers once they are decompressed.

    Message and RecordBatch are flatbuffers, as Arrow's Message.fbs describes them; pyarrow shows neither.
    """
    header = _field(metadata, _unsigned(metadata, 0), 2)
    batch = header + _unsigned(metadata, header)
    vector = _field(metadata, batch, 2)
    vector += _unsigned(metadata, vector)
    compressed = _field(metadata, batch, 3) != 0
    total = 0
    for number in range(_unsigned(metadata, vector)):
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * number)
        if compressed and length:
            (expanded,) = struct.unpack_from("<q", body, offset)
            length = length if expanded == NOT_COMPRESSED else expanded
        if offset < 0 or length < 0:
            raise ValueError("a buffer of a batch of rows has a negative length")
        total += length
    return total


def _field(metadata: pa.Buffer, table: int, number: int) -> int:
    """Return the position of a flatbuffer table's field; 0 if the table has no such field."""
    (back,) = struct.unpack_from("<i", metadata, table)
    entries = table - back
    (size,) = struct.unpack_from("<H", metadata, entries)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, entries + 4 + 2 * number)
    return table + offset if offset else 0


def _unsigned(metadata: pa.Buffer, position: int) -> int:
    value: int = struct.unpack_from("<I", metadata, position)[0]
    return value
