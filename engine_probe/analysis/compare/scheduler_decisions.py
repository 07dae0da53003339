"""Whether two recordings hold the same decisions of a scheduler, step by step."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

# What a step decided; times, and what follows from them, are left out.
DECIDED = (
    "running_requests",
    "waiting_requests",
    "new_requests",
    "resumed_requests",
    "preempted_requests",
    "scheduled_requests",
    "scheduled_tokens",
    "prefill_tokens",
    "cached_tokens",
    "kv_blocks_scheduled",
)


@dataclass(frozen=True)
class SameDecisions:
    """How many steps from the first on are the same, and how many each side has."""

    same: int
    steps: tuple[int, int]

    @property
    def all(self) -> bool:
        return self.steps == (self.same, self.same)


def same_decisions(one: pa.Table, other: pa.Table) -> SameDecisions:
    """Compare the steps of two recordings in their order; steps without tokens are left out."""
    sides = [_decided(table) for table in (one, other)]
    shared = min(map(len, sides))
    differs = np.flatnonzero((sides[0][:shared] != sides[1][:shared]).any(axis=1))
    same = int(differs[0]) if len(differs) else shared
    return SameDecisions(same, (len(sides[0]), len(sides[1])))


def _decided(table: pa.Table) -> np.ndarray:
    rows = np.column_stack([table[name].to_numpy() for name in DECIDED])
    return rows[rows[:, DECIDED.index("scheduled_tokens")] > 0]
