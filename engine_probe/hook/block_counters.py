"""Counters over vLLM's KV block pool: blocks in use, free blocks that still hold a cached prefix, shared blocks.

The number of blocks in use is one subtraction. The other two change only when blocks are freed, found in the prefix
cache, evicted from it, or when the cache is reset; with prefix caching on, these four methods of the pool are hooked.
"""

from __future__ import annotations

from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.patches import argument
from engine_probe.hook.rare_events import Call, RareEvents


class BlockCounters:
    """Counts one pool's blocks; hooks nothing if prefix caching is off."""

    def __init__(self, kv_cache_manager: Any, events: RareEvents) -> None:
        pool = kv_cache_manager.block_pool
        self._pool = pool
        self._managers = kv_cache_manager.coordinator.single_type_managers
        self.free_queue = pool.free_block_queue
        self.total: int = pool.num_gpu_blocks - 1  # one block is the null block, never given out
        self._events = events
        self.cached_free = self.shared = 0
        if pool.enable_caching:
            events.hook(pool, "touch", read=self._touch)
            self._call_free = events.patches.replace(pool, "free_blocks", self._free_blocks)
            events.hook(pool, "_maybe_evict_cached_block", self._evict)
            events.hook(pool, "reset_prefix_cache", self._reset_prefix_cache)

    def begin(self) -> None:
        """Set the counters to what the pool holds now."""
        self.cached_free, self.shared = self._count()

    def used(self) -> int:
        return self.total - int(self.free_queue.num_free_blocks)

    def held(self, request_id: str) -> int:
        """Count the blocks that a request holds, without the null blocks of sliding windows."""
        held = 0
        for manager in self._managers:
            blocks = manager.req_to_blocks.get(request_id, ())
            held += len(blocks)
            if blocks and blocks[0].is_null:
                held -= sum(1 for block in blocks if block.is_null)
        return held

    def _count(self) -> tuple[int, int]:
        """Count cached free blocks and extra references to shared blocks by walking the whole pool."""
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
        """Compare the counters with a walk over the pool; return one sentence for each difference."""
        counters, pool = (self.cached_free, self.shared), self._count()
        names = ("kv_blocks_cached_free", "kv_blocks_shared")
        return [
            f"{name} ended at {counted}, the block pool holds {held}"
            for name, counted, held in zip(names, counters, pool, strict=True)
            if counted != held
        ]

    def _touch(self, *args: Any, **kwargs: Any) -> None:
        for block in argument(args, kwargs, 0, "blocks"):
            if block.is_null:
                continue
            if block.ref_cnt:
                self.shared += 1
            else:
                self.cached_free -= 1
        self._events.changed = True

    def _free_blocks(self, *args: Any, **kwargs: Any) -> Any:
        if not self._events.patches.active:
            return self._call_free(*args, **kwargs)
        before = now()
        if args:  # vLLM may pass an iterator, and the blocks are read twice
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
            self._events.changed = True
            self._events.probe_ns += now() - before
        except Exception as error:
            self._events.fail(error)
        return self._call_free(*args, **kwargs)

    def _evict(self, call: Call) -> None:
        block = argument(call.args, call.kwargs, 0, "block")
        if call.result and block.ref_cnt == 0 and not block.is_null:
            self.cached_free -= 1
        self._events.changed = True

    def _reset_prefix_cache(self, call: Call) -> None:
        if call.result:
            self.cached_free = 0
            self._events.changed = True
