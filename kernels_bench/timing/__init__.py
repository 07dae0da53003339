"""The timing loop, its clocks, and one process per device.

Long calls on a GPU are each preceded by a flush of the cache, as in triton's `do_bench`; short ones are replayed from a
graph. Collectives have one process per GPU, and the parent orders each of them, so that all ranks run the same number.
"""
