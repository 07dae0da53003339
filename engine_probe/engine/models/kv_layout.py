"""How vLLM divides a KV pool among the layers of a model: groups that each take blocks of their own from one pool.

A group's layers keep every token, the tokens of a sliding window or of a chunk, or a recurrent state of fixed size. A
block is as large as the largest group needs, so that each fits any group.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class KvGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Layers that share one table of blocks."""

    layers: int
    block_size: int  # tokens
    token_bytes: float = 0.0  # of a layer's keys and values; 0: it keeps a state
    window: int | None = None  # tokens; None: every token is kept
    state_bytes: float = 0.0  # of a layer's recurrent state; 0: it keeps tokens
    state_blocks: int = 0  # that a request holds of a state
    chunk: int | None = None  # tokens; a token attends to those of its own chunk alone. None: no such chunks

    @property
    def keeps_every_token(self) -> bool:
        return not self.state_blocks and self.window is None and self.chunk is None

    @property
    def kept(self) -> str:
        """Say what a layer keeps."""
        if self.state_blocks:
            return "a state"
        if self.chunk is not None:
            return f"chunks of {self.chunk:,}"
        return "every token" if self.window is None else f"a window of {self.window:,}"

    def blocks_of(self, tokens: int, in_flight: int) -> int:
        """Return the most blocks that vLLM provides for a request of `tokens`."""
        if self.state_blocks:
            return self.state_blocks
        if self.chunk is not None:
            return -(-min(self.chunk + in_flight, tokens) // self.block_size)
        if self.window is None:
            return -(-tokens // self.block_size)
        # One more, because a window may begin and end inside a block.
        return -(-min(self.window - 1 + in_flight, tokens) // self.block_size) + 1


class KvLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The groups on one rank."""

    groups: tuple[KvGroup, ...]
    bytes_per_block: float

    @property
    def words(self) -> str:
        """Say what the layers keep."""
        kept: dict[str, int] = {}
        for group in self.groups:
            kept[group.kept] = kept.get(group.kept, 0) + group.layers
        return ", ".join(f"{layers} layers keep {kind}" for kind, layers in kept.items())

    @property
    def bytes_per_token(self) -> float:
        """Return the bytes of a token in all layers that keep tokens."""
        return sum(group.layers * group.token_bytes for group in self.groups)

    @property
    def state_bytes(self) -> float:
        """Return the bytes of a request's recurrent states, however long it is."""
        return sum(group.layers * group.state_bytes for group in self.groups)

    @property
    def block_size(self) -> int:
        """Return the tokens of a block in layers that keep tokens."""
        return max(group.block_size for group in self.groups if group.token_bytes)

    @property
    def is_alike(self) -> bool:
        """Return whether all layers keep the same: then blocks and tokens are proportional."""
        first, *others = self.groups
        return not others and not first.state_blocks and first.chunk is None

    def blocks_of(self, tokens: int, in_flight: int) -> int:
        """Return the blocks that vLLM provides for a request of `tokens`."""
        return sum(group.blocks_of(tokens, in_flight) for group in self.groups)

    def blocks_held(self, tokens: int, in_flight: int) -> int:
        """Return the most blocks that such a request holds at the same time."""
        return sum(
            group.state_blocks or min(-(-tokens // group.block_size), group.blocks_of(tokens, in_flight))
            for group in self.groups
        )

    def bytes_attended(self, context: Callable[[KvGroup], float]) -> float:
        """Return the bytes that an answer's token attends to; `context` says how many tokens in a group's layers."""
        return sum(group.layers * group.token_bytes * context(group) for group in self.groups)


def same_in_all_layers(layers: int, bytes_per_token: float, block_size: int, window: int | None) -> KvLayout:
    """Return the layout of layers that are alike: one group."""
    group = KvGroup(layers, block_size, bytes_per_token / layers, window)
    return KvLayout((group,), bytes_per_token * block_size)
