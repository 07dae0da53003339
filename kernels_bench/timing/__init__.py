"""The timing loop, its clocks, and one process per device for collectives.

On a GPU the cache is flushed before each long call, as in triton's `do_bench`; short calls are replayed from a graph.
Collectives have one process per GPU; the parent orders each collective, so that all ranks run the same number.
"""
