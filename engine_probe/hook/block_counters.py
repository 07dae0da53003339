"""Counters over vLLM's KV block pool: used, free but reusable, shared.

How many blocks are in use is one subtraction. Which free blocks still hold a prefix, and how many
references go to blocks that several requests share, changes only when blocks are freed, found in the prefix
cache or evicted from it: with prefix caching on, three methods of the pool are watched for that.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.marks import Marks
from engine_probe.hook.patches import Patches, argument


class BlockCounters:
    """Watches one block pool. Without prefix caching there is nothing to watch and nothing is hooked."""

    def __init__(
        self, kv_cache_manager: Any, patches: Patches, marks: Marks, on_failure: Callable[[BaseException], None]
    ) -> None:
        pool = kv_cache_manager.block_pool
        self._pool = pool
        self._managers = kv_cache_manager.coordinator.single_type_managers
        self._on_failure = on_failure
        self.free_queue = pool.free_block_queue
        self.total: int = pool.num_gpu_blocks - 1  # one block is the null block, never given out
        self._marks, self._patches = marks, patches
        self.cached_free = self.shared = 0
        if pool.enable_caching:
            self._call_touch = patches.replace(pool, "touch", self._touch)
            self._call_free = patches.replace(pool, "free_blocks", self._free_blocks)
            self._call_evict = patches.replace(pool, "_maybe_evict_cached_block", self._evict)
            self._call_reset = patches.replace(pool, "reset_prefix_cache", self._reset_prefix_cache)

    def begin(self) -> None:
        """Count what the pool holds now."""
        self.cached_free, self.shared = self._count()

    def used(self) -> int:
        return self.total - int(self.free_queue.num_free_blocks)

    def held(self, request_id: str) -> int:
        """Blocks a request holds now, null blocks of sliding windows apart."""
        held = 0
        for manager in self._managers:
            blocks = manager.req_to_blocks.get(request_id, ())
            held += len(blocks)
            if blocks and blocks[0].is_null:
                held -= sum(1 for block in blocks if block.is_null)
        return held

    def _count(self) -> tuple[int, int]:
        """The two counters by a walk over the whole pool: their start, and the audit at the end."""
        cached_free = shared = 0
        for block in self._pool.blocks:
            if block.is_null:
                continue
            if block.ref_cnt > 1:
                shared += block.ref_cnt - 1
            elif block.ref_cnt == 0 and block.block_hash is not None:
                cached_free += 1
        return cached_free, shared

    def audit(self) -> list[str]:
        """Compare the counters with a walk over the pool; each difference is one sentence."""
        said, true = (self.cached_free, self.shared), self._count()
        names = ("kv_blocks_cached_free", "kv_blocks_shared")
        return [
            f"{name} ended at {ours}, the block pool holds {theirs}"
            for name, ours, theirs in zip(names, said, true, strict=True)
            if ours != theirs
        ]

    def _touch(self, *args: Any, **kwargs: Any) -> Any:
        if not self._patches.on:
            return self._call_touch(*args, **kwargs)
        before = now()
        try:
            for block in argument(args, kwargs, 0, "blocks"):
                if block.is_null:
                    continue
                if block.ref_cnt:
                    self.shared += 1
                else:
                    self.cached_free -= 1
            self._marks.changed = True
            self._marks.own_ns += now() - before
        except Exception as error:
            self._on_failure(error)
        return self._call_touch(*args, **kwargs)

    def _free_blocks(self, *args: Any, **kwargs: Any) -> Any:
        if not self._patches.on:
            return self._call_free(*args, **kwargs)
        before = now()
        if args:  # it may be an iterator, and is needed twice
            args = (list(args[0]), *args[1:])
        elif "ordered_blocks" in kwargs:
            kwargs["ordered_blocks"] = list(kwargs["ordered_blocks"])
        try:
            for block in argument(args, kwargs, 0, "ordered_blocks"):
                if block.is_null:
                    continue
                if block.ref_cnt > 1:
                    self.shared -= 1
                elif block.block_hash is not None:
                    self.cached_free += 1
            self._marks.changed = True
            self._marks.own_ns += now() - before
        except Exception as error:
            self._on_failure(error)
        return self._call_free(*args, **kwargs)

    def _evict(self, *args: Any, **kwargs: Any) -> Any:
        evicted = self._call_evict(*args, **kwargs)
        if not self._patches.on:
            return evicted
        before = now()
        try:
            block = argument(args, kwargs, 0, "block")
            if evicted and block.ref_cnt == 0 and not block.is_null:
                self.cached_free -= 1
            self._marks.changed = True
            self._marks.own_ns += now() - before
        except Exception as error:
            self._on_failure(error)
        return evicted

    def _reset_prefix_cache(self, *args: Any, **kwargs: Any) -> Any:
        done = self._call_reset(*args, **kwargs)
        try:
            if done and self._patches.on:
                self.cached_free = 0
                self._marks.changed = True
        except Exception as error:
            self._on_failure(error)
        return done
