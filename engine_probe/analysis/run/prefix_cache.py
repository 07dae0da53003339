"""The hit rate of the prefix cache, and its loss at loads at which the pool has no room for cached prefixes.

A prefix stays cached only until its blocks are needed. When running requests take the whole pool, the histories of
waiting conversations are evicted and their prompts computed again, which counts as no preemption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

FULL = 0.99  # of the pool
CLEAR_FALL = 0.05  # of the prompt tokens


@dataclass(frozen=True)
class PrefixCache:
    """The prefix cache hits of one run's requests, each at its first admission and not after a preemption."""

    prompt_tokens: int
    found_tokens: int  # those of KV connectors apart; before schema version 5 they are among them
    scheduled_tokens: int  # of any kind, over all requests
    peak_held_share: float  # most KV blocks in use or free with a cached prefix / all
    connector_tokens: int | None = None  # supplied by KV connectors; None before version 5

    @property
    def share(self) -> float:
        return self.found_tokens / self.prompt_tokens


def prefix_cache(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table) -> PrefixCache | None:
    """Return the prefix cache hits of a run. None if no request was admitted, or without any cache of prompts."""
    loaded = pc.sum(requests["connector_tokens"]).as_py()
    if not facts["kv"]["prefix_caching"] and not loaded:
        return None
    # A request that was queued before the probe attached may have been admitted before, too.
    seen = requests.filter(pc.and_(pc.is_valid(requests["first_scheduled_ns"]), pc.is_valid(requests["queued_ns"])))
    prompt, found = (pc.sum(seen[name]).as_py() or 0 for name in ("prompt_tokens", "cached_tokens"))
    if not prompt:
        return None
    held = pc.max(pc.add(iterations["kv_blocks_scheduled"], iterations["kv_blocks_cached_free"])).as_py()
    scheduled, pool = pc.sum(iterations["scheduled_tokens"]).as_py(), facts["kv"]["blocks"]
    supplied = pc.sum(seen["connector_tokens"]).as_py()
    return PrefixCache(prompt, found - (supplied or 0), scheduled, held / pool, supplied)


@dataclass(frozen=True)
class CacheLevel:
    """The prefix cache at one load, over all repeats."""

    load: float
    runs: tuple[PrefixCache, ...]

    @property
    def share(self) -> float:
        return sum(run.found_tokens for run in self.runs) / sum(run.prompt_tokens for run in self.runs)

    @property
    def full(self) -> bool:
        """Return whether in every repeat nearly all blocks were at some time in use or held a prefix."""
        return min(run.peak_held_share for run in self.runs) >= FULL


@dataclass(frozen=True)
class CacheLoss:
    """The load from which on the prefix cache loses hits, and how much is lost at the highest load."""

    kept: CacheLevel  # the highest load up to which the hit rate is about the best
    first: CacheLevel  # the lowest load above it
    last: CacheLevel  # the highest load

    @property
    def computed_again(self) -> float:
        """Return the share of the tokens scheduled at `last` that the hit rate at `kept` would have spared."""
        prompt = sum(run.prompt_tokens for run in self.last.runs)
        scheduled = sum(run.scheduled_tokens for run in self.last.runs)
        return (self.kept.share - self.last.share) * prompt / scheduled


def cache_levels(runs: Mapping[float, Sequence[PrefixCache | None]]) -> tuple[CacheLevel, ...]:
    """Return a level for each load; none unless every run had a prefix cache."""
    levels = [CacheLevel(load, tuple(filter(None, repeats))) for load, repeats in sorted(runs.items())]
    return () if any(len(level.runs) < len(runs[level.load]) for level in levels) else tuple(levels)


def cache_loss(levels: Sequence[CacheLevel]) -> CacheLoss | None:
    """Return the loss of hits. None unless all repeats show it at all higher loads, with a full pool."""
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
