"""What the prefix cache found of the prompts, and what it finds no longer once the pool cannot keep what is not in use.

A prefix is kept only as long as nobody needs its blocks. Where the requests that run take the whole pool, the
histories of conversations that wait for their turn are given up, and their prompts are computed again. No preemption
counts that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

FULL = 0.99  # of the pool
CLEAR_FALL = 0.05  # of the prompt tokens


@dataclass(frozen=True)
class PrefixCache:
    """Of the requests of one run, each when it was admitted first: what a preemption lost is another matter."""

    prompt_tokens: int
    found_tokens: int
    scheduled_tokens: int  # of all requests, of any kind
    peak_held_share: float  # most KV blocks that were in use, or free but still holding a prefix / all

    @property
    def share(self) -> float:
        return self.found_tokens / self.prompt_tokens


def prefix_cache(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table) -> PrefixCache | None:
    """None without prefix caching, and where no request was admitted."""
    if not facts["kv"]["prefix_caching"]:
        return None
    # Who queued before the probe attached may have been admitted before, too.
    seen = requests.filter(pc.and_(pc.is_valid(requests["first_scheduled_ns"]), pc.is_valid(requests["queued_ns"])))
    prompt, found = (pc.sum(seen[name]).as_py() or 0 for name in ("prompt_tokens", "cached_tokens"))
    if not prompt:
        return None
    held = pc.max(pc.add(iterations["kv_blocks_scheduled"], iterations["kv_blocks_cached_free"])).as_py()
    return PrefixCache(prompt, found, pc.sum(iterations["scheduled_tokens"]).as_py(), held / facts["kv"]["blocks"])


@dataclass(frozen=True)
class CacheLevel:
    """One load, all repeats together."""

    load: float
    runs: tuple[PrefixCache, ...]

    @property
    def share(self) -> float:
        return sum(run.found_tokens for run in self.runs) / sum(run.prompt_tokens for run in self.runs)

    @property
    def full(self) -> bool:
        """In every repeat there was a moment with hardly a block that was neither in use nor held a prefix."""
        return min(run.peak_held_share for run in self.runs) >= FULL


@dataclass(frozen=True)
class CacheLoss:
    """Two loads: the highest up to which the cache finds what it finds at best, and the highest of all."""

    kept: CacheLevel
    first: CacheLevel  # the lowest load that finds less
    last: CacheLevel

    @property
    def computed_again(self) -> float:
        """Of the tokens scheduled at the last: prompt tokens that the share found at `kept` would have spared."""
        prompt = sum(run.prompt_tokens for run in self.last.runs)
        scheduled = sum(run.scheduled_tokens for run in self.last.runs)
        return (self.kept.share - self.last.share) * prompt / scheduled


def cache_levels(runs: Mapping[float, Sequence[PrefixCache | None]]) -> tuple[CacheLevel, ...]:
    """By load; empty unless every run of every load had a prefix cache."""
    told = [(load, [each for each in same if each]) for load, same in sorted(runs.items())]
    if any(len(known) < len(runs[load]) for load, known in told):
        return ()
    return tuple(CacheLevel(load, tuple(known)) for load, known in told)


def cache_loss(levels: Sequence[CacheLevel]) -> CacheLoss | None:
    """None unless the share falls for good and in the end clearly, in every repeat, and the pool was full there."""
    if len(levels) < 2:
        return None
    best = max(levels, key=lambda level: level.share)
    kept = [level for level in levels if level.share > best.share - CLEAR_FALL][-1]
    beyond = [level for level in levels if level.load > kept.load]
    if not beyond or not all(level.full for level in beyond):
        return None
    lowest = min(run.share for run in kept.runs)
    if any(run.share >= lowest for level in beyond for run in level.runs):
        return None
    if any(run.share > lowest - CLEAR_FALL for run in beyond[-1].runs):
        return None
    return CacheLoss(kept, beyond[0], beyond[-1])
