"""Counters over vLLM's KV block pool: blocks in use, free blocks that still hold a cached prefix, shared blocks.

The number of blocks in use is one subtraction. The other two change only when blocks are freed, found in the prefix
cache, evicted from it, or when the cache is reset; with prefix caching on, the methods that do it are hooked.
"""

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
            self._hook_release(pool, "free_blocks", "ordered_blocks")
            self._hook_eviction(pool)
            events.hook(pool, "reset_prefix_cache", self._reset_prefix_cache)
            if hasattr(pool, "unpin_blocks"):  # HiSparse frees blocks that it may go on reading
                self._hook_release(pool, "unpin_blocks", "blocks")
            for owner, name in ((pool, "move_block_hashes"), *((manager, "_apply_cow") for manager in self._managers)):
                if hasattr(owner, name):  # partly filled blocks are found in the cache from 0.28 on
                    events.hook(owner, name, self._keep_for_copy)

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

    def _hook_release(self, pool: Any, name: str, blocks_name: str) -> None:
        """Replace a method that takes references from blocks, so that they are counted before."""
        call, events = getattr(pool, name), self._events

        def replacement(*args: Any, **kwargs: Any) -> Any:
            if not events.active:
                return call(*args, **kwargs)
            before = now()
            try:
                blocks = list(argument(args, kwargs, 0, blocks_name))  # vLLM may pass an iterator, and both read it
                args, kwargs = ((blocks, *args[1:]), kwargs) if args else (args, kwargs | {blocks_name: blocks})
                self._free_blocks(blocks)
                events.probe_ns += now() - before
            except Exception as error:
                events.fail(error)
            return call(*args, **kwargs)

        events.replace(pool, name, replacement)

    def _free_blocks(self, blocks: list[Any]) -> None:
        for block in blocks:
            if block.is_null:
                continue
            if block.ref_cnt > 1:
                self.shared -= 1
            elif block.block_hash is not None:
                self.cached_free += 1
        self._events.changed = True

    def _keep_for_copy(self, call: Call) -> None:
        """Count the reference that keeps a block until it has been copied, so that a request can write it."""
        self.shared += 1
        self._events.changed = True

    def _hook_eviction(self, pool: Any) -> None:
        """Replace the method that every new block passes, most of which held no cached prefix and cost one call."""
        call, events = pool._maybe_evict_cached_block, self._events

        def _evict(*args: Any, **kwargs: Any) -> Any:
            evicted = call(*args, **kwargs)
            if evicted and events.active:
                try:
                    block = argument(args, kwargs, 0, "block")
                    if block.ref_cnt == 0 and not block.is_null:
                        self.cached_free -= 1
                        events.changed = True
                except Exception as error:
                    events.fail(error)
            return evicted

        events.replace(pool, "_maybe_evict_cached_block", _evict)

    def _reset_prefix_cache(self, call: Call) -> None:
        if call.result:
            self.cached_free = 0
            self._events.changed = True
