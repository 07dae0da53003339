"""How a pool is divided among layers that keep different things, by mental arithmetic."""

from __future__ import annotations

from engine_probe.engine.models.kv_layout import KvGroup, KvLayout, same_in_all_layers

FULL = KvGroup(2, 16, token_bytes=100.0)
WINDOW = KvGroup(2, 16, token_bytes=100.0, window=64)
STATE = KvGroup(3, 16, state_bytes=500.0, state_blocks=2)
CHUNKS = KvGroup(1, 16, token_bytes=100.0, chunk=64)
MIXED = KvLayout((FULL, WINDOW, STATE), 3200.0)


def test_each_group_takes_blocks_of_its_own() -> None:
    assert FULL.blocks_of(160, in_flight=32) == 10
    assert WINDOW.blocks_of(160, in_flight=32) == 7  # 63 + 32 tokens are six blocks, and one more at the edge
    assert WINDOW.blocks_of(20, in_flight=32) == 3
    assert MIXED.blocks_of(160, 32) == 10 + 7 + 2
    assert MIXED.blocks_held(20, 32) == 2 + 2 + 2  # a request of two blocks holds no third


def test_tokens_and_states_are_counted_apart() -> None:
    assert MIXED.bytes_per_token == 400.0
    assert MIXED.state_bytes == 1500.0
    assert MIXED.bytes_attended(lambda group: 64.0 if group.window else 100.0) == 200 * 100 + 200 * 64
    assert MIXED.words == "2 layers keep every token, 2 layers keep a window of 64, 3 layers keep a state"
    assert not MIXED.is_alike


def test_a_chunk_begins_at_a_block_and_needs_none_at_its_edge() -> None:
    assert CHUNKS.blocks_of(160, in_flight=32) == 6  # 64 + 32 tokens
    assert CHUNKS.blocks_of(20, in_flight=32) == 2
    assert KvLayout((CHUNKS, FULL), 3200.0).words == "1 layers keep chunks of 64, 2 layers keep every token"
    assert not KvLayout((CHUNKS,), 1600.0).is_alike
    assert [group.keeps_every_token for group in (FULL, WINDOW, CHUNKS, STATE)] == [True, False, False, False]


def test_layers_that_are_alike_are_one_group() -> None:
    found = same_in_all_layers(4, 800.0, 16, None)
    assert found.is_alike
    assert (found.bytes_per_block, found.bytes_per_token, found.block_size) == (12_800.0, 800.0, 16)
