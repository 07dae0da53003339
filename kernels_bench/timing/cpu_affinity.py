"""Binding this thread to the cores next to a GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def on_cpus(cpus: tuple[int, ...]) -> Iterator[None]:
    """Run this thread on those of the cores that it may use, so that the host memory it takes is also near them."""
    allowed = os.sched_getaffinity(0) if cpus and hasattr(os, "sched_setaffinity") else set()
    bound = allowed & set(cpus)
    if bound:
        os.sched_setaffinity(0, bound)
    try:
        yield
    finally:
        if bound:
            os.sched_setaffinity(0, allowed)
