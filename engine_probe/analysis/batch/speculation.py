"""Speculative decoding: what was accepted of the drafts, by position, and what a step gave a request.

acceptance at position k   drafts of which k tokens or more were given to the request / drafts of k tokens or more
accepted length            accepted tokens / drafts; with the model's own token, what a step with a draft gave
tokens per decode step     (decode tokens + accepted tokens) / decode tokens, steps without a draft included
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.engine.twin.drafts.acceptance import Acceptance, falling

MOST_POSITIONS = 64  # a figure for each is of no use beyond


@dataclass(frozen=True)
class Position:
    """A place in the drafts, from 1 on."""

    drafted: int  # drafts that reach it
    accepted: int

    @property
    def share(self) -> float:
        return self.accepted / self.drafted


@dataclass(frozen=True)
class Speculation:
    drafts: int
    drafted_tokens: int
    accepted_tokens: int
    decode_tokens: int  # one for each request and decode step
    positions: tuple[Position, ...]

    @property
    def share(self) -> float:
        """Return the share of the draft tokens that was accepted."""
        return self.accepted_tokens / self.drafted_tokens

    @property
    def accepted_length(self) -> float:
        return self.accepted_tokens / self.drafts

    @property
    def tokens_per_step(self) -> float:
        """Return how many tokens a decode step gave each of its requests."""
        return 1 + self.accepted_tokens / self.decode_tokens


def speculation(iterations: pa.Table, drafts: pa.Table) -> Speculation | None:
    """Return what speculative decoding did in a run. None without drafts."""
    known = drafts.filter(pc.less(drafts["iteration"], iterations.num_rows))
    drafted, accepted = (lengths(known[name]) for name in ("drafted", "accepted"))
    decode = int(iterations["decode_tokens"].to_numpy().sum())
    if not len(drafted) or not decode:
        return None
    most = min(int(drafted.max()), MOST_POSITIONS)
    return Speculation(
        drafts=len(drafted),
        drafted_tokens=int(drafted.sum()),
        accepted_tokens=int(accepted.sum()),
        decode_tokens=decode,
        positions=tuple(map(Position, reaching(drafted, most), reaching(accepted, most))),
    )


def measured_acceptance(found: Sequence[Speculation], source: str) -> Acceptance | None:
    """Return for a twin what was accepted of the drafts of several runs together. None without drafts."""
    if not found:
        return None
    decode, most = sum(each.decode_tokens for each in found), max(len(each.positions) for each in found)
    counts = [[each.positions[place] for each in found if place < len(each.positions)] for place in range(most)]
    drafted, accepted = (
        [sum(getattr(position, name) for position in positions) for positions in counts]
        for name in ("drafted", "accepted")
    )
    return Acceptance(
        falling([yes / all_of_them for yes, all_of_them in zip(accepted, drafted, strict=True)]),
        falling([min(1.0, each / decode) for each in drafted]),
        source,
    )


def lengths(column: pa.ChunkedArray) -> Integers:
    """Return the lengths of all steps, without empty ones."""
    found: Integers = pc.list_flatten(column).to_numpy().astype(np.int64)
    return found[found > 0]


def reaching(values: Integers, most: int) -> list[int]:
    """Return how many of the lengths reach 1, 2, 3 ... `most`."""
    counts = np.bincount(np.minimum(values, most), minlength=most + 1)
    reached: list[int] = np.cumsum(counts[::-1])[::-1][1:].tolist()
    return reached
