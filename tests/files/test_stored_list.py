"""A list in a temporary file gives back what it was given, in any order."""

from __future__ import annotations

import msgspec
import pytest

from engine_probe.files.stored_list import BLOCKS_KEPT, TOGETHER, StoredList


class Entry(msgspec.Struct, frozen=True):
    name: str
    values: list[int]


@pytest.mark.parametrize("number", [0, 1, TOGETHER, TOGETHER * (BLOCKS_KEPT + 2) + 1])
def test_entries_come_back_in_order_and_by_their_place(number: int) -> None:
    entries = [Entry(str(each), [each] * (each % 5)) for each in range(number)]
    stored = StoredList(iter(entries), list[Entry])
    assert len(stored) == number
    assert list(stored) == list(stored) == entries
    assert [stored[place] for place in reversed(range(number))] == entries[::-1]
    for outside in (-1, number):
        with pytest.raises(IndexError):
            stored[outside]
