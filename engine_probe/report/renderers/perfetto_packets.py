"""Perfetto's protobuf format, many packets at a time: rows of a table become rows of bytes.

A packet is a fixed sequence of bytes with slots in it. Numbers in slots are written at their full width (a varint may
be longer than necessary), so all rows have one length and a whole column is filled in at a time. The `perfetto`
package's own writer makes one object per packet; a test reads the traces written here with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine_probe.errors import InputError

SEQUENCE = 1  # all packets come from one writer
BEGIN, END, COUNTER = 1, 2, 4  # TrackEvent.Type
BOOTTIME, REALTIME = 6, 1  # clocks by Perfetto's numbers
CHRONOLOGICAL = 2  # TrackDescriptor.ChildTracksOrdering
ROWS_AT_ONCE = 8192
VARINT_BYTES = 9  # 63 bits

Column = npt.NDArray[np.int64] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slot:
    """A place in a packet for the integer of a column."""

    column: str


@dataclass(frozen=True)
class RealSlot:
    """A place in a packet for the number of a column, as a double."""

    column: str


Pieces = tuple[bytes | Slot | RealSlot, ...]


def width(piece: bytes | Slot | RealSlot) -> int:
    return len(piece) if isinstance(piece, bytes) else VARINT_BYTES if isinstance(piece, Slot) else 8


def varint(value: int) -> bytes:
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*coded, value])


def number(field: int, value: int | Slot) -> Pieces:
    return (varint(field << 3), varint(value) if isinstance(value, int) else value)


def real(field: int, value: RealSlot) -> Pieces:
    return (varint(field << 3 | 1), value)


def text(field: int, value: str) -> Pieces:
    return message(field, (value.encode(),))


def message(field: int, *parts: Pieces) -> Pieces:
    inside = [piece for part in parts for piece in part]
    return (varint(field << 3 | 2) + varint(sum(map(width, inside))), *inside)


def packet(*parts: Pieces) -> Pieces:
    return message(1, number(10, SEQUENCE), *parts)


def begin(at: str | int, track: int | Slot, name: str, category: str = "", **arguments: str) -> Pieces:
    """Return the packet that begins a slice at a time, or at that of a column; `arguments` are columns to show."""
    kind = text(22, category) if category else ()
    notes = [message(4, text(10, label), number(4, Slot(column))) for label, column in arguments.items()]
    event = message(11, number(9, BEGIN), number(11, track), kind, text(23, name), *notes)
    return packet(number(8, moment(at)), event)


def end(at: str | int, track: int | Slot) -> Pieces:
    return packet(number(8, moment(at)), message(11, number(9, END), number(11, track)))


def moment(at: str | int) -> Slot | int:
    return Slot(at) if isinstance(at, str) else at


def counter(at: str, track: int, value: str) -> Pieces:
    event = message(11, number(9, COUNTER), number(11, track), real(44, RealSlot(value)))
    return packet(number(8, Slot(at)), event)


def track(uuid: int, name: str, parent: int | None = None, unit: str | None = None) -> bytes:
    """Return the packet of a track; with a unit, of a counter's track."""
    return fixed(
        packet(
            message(
                60,
                number(1, uuid),
                text(2, name),
                () if parent is None else number(5, parent),
                number(11, CHRONOLOGICAL),
                () if unit is None else message(8, text(6, unit)),
            )
        )
    )


def clock(monotonic_ns: int, wall_ns: int) -> bytes:
    """Return the packet that relates the recording's monotonic clock, which the trace uses, to the wall clock."""
    pairs = ((BOOTTIME, monotonic_ns), (REALTIME, wall_ns))
    return fixed(packet(message(6, *(message(1, number(1, which), number(2, time)) for which, time in pairs))))


def fixed(pieces: Pieces) -> bytes:
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def rows(pieces: Pieces, columns: Mapping[str, Column]) -> Iterator[bytes]:
    """Yield the packets of every row of the columns, one row after the other."""
    template = np.frombuffer(
        b"".join(piece if isinstance(piece, bytes) else bytes(width(piece)) for piece in pieces), dtype=np.uint8
    )
    count = len(next(iter(columns.values())))
    for first in range(0, count, ROWS_AT_ONCE):
        part = {name: column[first : first + ROWS_AT_ONCE] for name, column in columns.items()}
        lines = np.tile(template, (len(next(iter(part.values()))), 1))
        place = 0
        for piece in pieces:
            if isinstance(piece, Slot):
                fill_varint(lines[:, place : place + VARINT_BYTES], part[piece.column].astype(np.int64))
            elif isinstance(piece, RealSlot):
                lines[:, place : place + 8] = part[piece.column].astype("<f8").view(np.uint8).reshape(-1, 8)
            place += width(piece)
        yield lines.tobytes()


def fill_varint(target: npt.NDArray[np.uint8], values: npt.NDArray[np.int64]) -> None:
    if (values < 0).any():
        raise InputError("a time or a count in this recording is negative: it is damaged")
    shifts = 7 * np.arange(VARINT_BYTES)
    target[:] = values[:, None] >> shifts & 0x7F
    target[:, :-1] |= 0x80
