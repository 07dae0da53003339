"""A thread that samples the GPU while a test runs on it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kernels_bench.results import Reading

EVERY_S = 0.1


@contextmanager
def sampled(read: Callable[[], Reading] | None, every_s: float = EVERY_S) -> Iterator[list[Reading]]:
    """Call `read` every 0.1 s in a `with` block, and give the readings, which grow; none if `read` is None."""
    readings: list[Reading] = []
    if read is None:
        yield readings
        return
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(every_s):
            readings.append(read())

    thread = threading.Thread(target=sample, name="kernels_bench sampler", daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        stop.set()
        thread.join()
