"""The columns that the writer computes from readings and notes, checked by mental arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.record.columns import Expander, narrow, scatter
from engine_probe.record.schema import SCHEMAS
from tests.support.recordings.recorder_rows import KV_BLOCKS, note, raw, rows_of

# Three requests come at once; one of them leaves before iteration 3.
NOTES = [
    note(
        0,
        arrived_requests=3,
        new_requests=3,
        prefilling_requests=3,
        prefill_tokens=30,
        running_requests=3,
        scheduled_requests=3,
        scheduled_tokens=30,
        kv_tokens_live=30,
    ),
    note(1, running_requests=3, scheduled_requests=3, scheduled_tokens=3, kv_tokens_live=33),
    note(
        3,
        left_running_requests=1,
        running_requests=2,
        queued_requests=5,
        deferred_requests=1,
        scheduled_requests=2,
        scheduled_tokens=2,
        kv_blocks_cached_free=4,
        kv_tokens_live=26,
    ),
]
FINISHED = [(2, 1)]
# Every 1,000 ns a step: 10 outside, 100 schedule(), 700 model, 50 update.
ROWS = rows_of(
    *(
        raw(
            left_core_ns=begin - 10,
            called_ns=begin,
            returned_ns=begin + 100,
            update_called_ns=begin + 800,
            update_returned_ns=begin + 850,
            free_blocks=KV_BLOCKS - 6,
            free_blocks_after=KV_BLOCKS - 5,
            delivered_tokens=3,
            events_ns=2,
        )
        for begin in range(1_000, 7_000, 1_000)
    )
)


def columns() -> dict[str, list[int]]:
    wide = Expander().expand(ROWS, NOTES, FINISHED, KV_BLOCKS)
    return {field.name: column.tolist() for field, column in zip(SCHEMAS["iterations"], narrow(wide), strict=True)}


def test_durations_are_differences_of_readings() -> None:
    table = columns()
    assert table["iteration"] == [0, 1, 2, 3, 4, 5]
    assert table["start_ns"] == [1_000, 2_000, 3_000, 4_000, 5_000, 6_000]
    durations = {"gap_ns": 10, "schedule_ns": 100, "execute_ns": 700, "update_ns": 50, "probe_ns": 2}
    assert {name: set(table[name]) for name in durations} == {name: {value} for name, value in durations.items()}


def test_used_blocks_are_what_is_not_free() -> None:
    table = columns()
    assert table["kv_blocks_scheduled"] == [6] * 6
    assert table["kv_blocks_updated"] == [5] * 6


def test_levels_hold_until_the_next_note() -> None:
    table = columns()
    assert table["running_requests"] == [3, 3, 3, 2, 2, 2]
    assert table["scheduled_tokens"] == [30, 3, 3, 2, 2, 2]
    assert table["kv_blocks_cached_free"] == [0, 0, 0, 4, 4, 4]
    assert table["waiting_requests"] == [0, 0, 0, 4, 4, 4]  # the queues less the deferred one in them
    assert table["deferred_requests"] == [0, 0, 0, 1, 1, 1]


def test_flows_are_zero_where_nothing_was_noted() -> None:
    table = columns()
    assert table["arrived_requests"] == [3, 0, 0, 0, 0, 0]
    assert table["left_running_requests"] == [0, 0, 0, 1, 0, 0]
    assert table["finished_requests"] == [0, 0, 1, 0, 0, 0]
    assert table["prefill_tokens"] == [30, 0, 0, 0, 0, 0]


def test_who_computes_no_prompt_decodes() -> None:
    assert columns()["decode_tokens"] == [0, 3, 3, 2, 2, 2]


def test_live_tokens_grow_by_the_scheduled_ones() -> None:
    assert columns()["kv_tokens_live"] == [30, 33, 36, 26, 28, 30]


@pytest.mark.parametrize("sizes", [[1] * 6, [2, 4], [3, 3], [5, 1], [4, 1, 1]])
def test_batches_equal_one_call(sizes: list[int]) -> None:
    whole = Expander().expand(ROWS, NOTES, FINISHED, KV_BLOCKS)
    expander, parts, first = Expander(), [], 0
    for size in sizes:
        mine = range(first, first + size)
        changes = [change for change in NOTES if change[0] in mine]
        finished = [change for change in FINISHED if change[0] in mine]
        parts.append(expander.expand(ROWS[first : first + size], changes, finished, KV_BLOCKS))
        first += size
    for name, column in whole.items():
        assert np.concatenate([part[name] for part in parts]).tolist() == column.tolist(), name


def test_no_rows_are_no_columns() -> None:
    wide = Expander().expand(rows_of(), [], [], KV_BLOCKS)
    assert {len(column) for column in narrow(wide)} == {0}


def test_scatter_leaves_zeros_between_notes() -> None:
    assert scatter([(11, 5, 7), (13, 6, 8)], 10, 5, 2).tolist() == [[0, 5, 0, 6, 0], [0, 7, 0, 8, 0]]


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_a_value_beyond_its_column_raises_and_is_not_wrapped(value: int) -> None:
    wide = Expander().expand(rows_of(raw(delivered_tokens=value)), [note(0)], [], KV_BLOCKS)
    with pytest.raises(OverflowError, match=r"iterations\.output_tokens .* int32"):
        narrow(wide)


def test_the_largest_value_fits() -> None:
    wide = Expander().expand(rows_of(raw(delivered_tokens=2**31 - 1)), [note(0)], [], KV_BLOCKS)
    position = SCHEMAS["iterations"].get_field_index("output_tokens")
    assert narrow(wide)[position].tolist() == [2**31 - 1]
