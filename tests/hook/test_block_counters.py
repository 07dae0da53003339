"""The rare ways in which vLLM changes reference counts, on its own block pool: the counters follow each of them."""

from types import MethodType, SimpleNamespace
from typing import Any

import pytest

from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.rare_events import RareEvents

pytestmark = pytest.mark.lengthy  # imports vLLM


class Followed:
    """A pool of vLLM's with a manager, and the counters over them."""

    def __init__(self) -> None:
        from vllm.v1.core.block_pool import BlockPool
        from vllm.v1.core.single_type_kv_cache_manager import SingleTypeKVCacheManager

        self.pool = BlockPool(num_gpu_blocks=9, enable_caching=True, hash_block_size=16)
        self.manager = SimpleNamespace(req_to_blocks={}, _pending_cow_copies=[])
        self.manager._apply_cow = MethodType(SingleTypeKVCacheManager._apply_cow, self.manager)
        self.failures: list[BaseException] = []
        events = RareEvents(self.failures.append, lambda: ())
        coordinator = SimpleNamespace(single_type_managers=(self.manager,))
        held = SimpleNamespace(block_pool=self.pool, coordinator=coordinator)
        self.counters = BlockCounters(held, events)
        self.counters.begin()
        events.active = True

    def cached(self, number: int) -> list[Any]:
        """Blocks in use that the prefix cache knows."""
        blocks = self.pool.get_new_blocks(number)
        for block in blocks:
            block.set_block_hash(b"%d" % block.block_id, 16)
        return blocks

    def as_counted(self) -> tuple[int, int]:
        assert self.failures == []
        assert self.counters.audit() == []
        return self.counters.cached_free, self.counters.shared


@pytest.fixture
def followed() -> Followed:
    return Followed()


def test_blocks_are_freed_once_even_if_vllm_passes_an_iterator(followed: Followed) -> None:
    blocks = followed.cached(3)
    followed.pool.touch(blocks[:1])
    assert followed.as_counted() == (0, 1)
    followed.pool.free_blocks(iter(blocks))
    assert followed.as_counted() == (2, 0)
    followed.pool.free_blocks(ordered_blocks=iter(blocks[:1]))
    assert followed.as_counted() == (3, 0)


def test_unpinned_blocks_are_free(followed: Followed) -> None:
    if not hasattr(followed.pool, "unpin_blocks"):
        pytest.skip("this vLLM has no HiSparse")
    one, two = followed.cached(2)
    followed.pool.touch([two])
    followed.pool.unpin_blocks(iter([one, two]), on_reuse=lambda block: None)
    assert followed.as_counted() == (1, 0)


def test_a_block_that_is_copied_on_write_has_a_reference_more(followed: Followed) -> None:
    (source,) = followed.cached(1)
    followed.pool.touch([source])
    (copy,) = followed.pool.get_new_blocks(1)
    followed.manager.req_to_blocks["a"] = [source]
    followed.manager._apply_cow("a", 0, source, copy)
    assert followed.as_counted() == (0, 2)
    ((kept, written),) = followed.manager._pending_cow_copies
    followed.pool.free_blocks([kept, written])
    assert followed.as_counted() == (0, 0)
