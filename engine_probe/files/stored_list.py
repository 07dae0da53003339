"""A list that is too long for memory: in a temporary file, from which a few entries at a time are read."""

import os
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from engine_probe.files.new_file import writing

Entry = TypeVar("Entry")
TOGETHER = 32  # entries that are read at once
BLOCKS_KEPT = 64  # of so many entries: who goes through the list comes back to some that were read before


class StoredList(Generic[Entry]):
    """Holds what an iterable yields; in memory, each entry takes a quarter of a byte."""

    def __init__(self, entries: Iterable[Entry], kind: type[list[Entry]]) -> None:
        self._decoder, encoder = msgspec.msgpack.Decoder(kind), msgspec.msgpack.Encoder()
        self._starts, self._number = array("Q", [0]), 0
        remaining = iter(entries)
        with writing(Path(tempfile.gettempdir()), "free some space, or set TMPDIR"):
            handle, name = tempfile.mkstemp()
            self._file = os.fdopen(handle, "w+b")
            weakref.finalize(self, self._file.close)
            Path(name).unlink()  # its space is free once it is closed
            while block := list(islice(remaining, TOGETHER)):
                self._number += len(block)
                self._starts.append(self._starts[-1] + self._file.write(encoder.encode(block)))
            self._file.flush()
        self._block = lru_cache(BLOCKS_KEPT)(self._read)

    def _read(self, number: int) -> list[Entry]:
        begin, end = self._starts[number], self._starts[number + 1]
        return self._decoder.decode(os.pread(self._file.fileno(), end - begin, begin))

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, place: int) -> Entry:
        if not 0 <= place < self._number:
            raise IndexError(f"{place} of {self._number}")
        return self._block(place // TOGETHER)[place % TOGETHER]

    def __iter__(self) -> Iterator[Entry]:
        for number in range(len(self._starts) - 1):
            yield from self._read(number)
