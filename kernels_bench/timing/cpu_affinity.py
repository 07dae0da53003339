"""Binds this thread to the cores next to a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def on_cpus(cpus: tuple[int, ...]) -> Iterator[None]:
    """This thread on those of the cores that it may have at all, so that host memory it takes is near them too."""
    before = os.sched_getaffinity(0) if cpus and hasattr(os, "sched_setaffinity") else set()
    wanted = before & set(cpus)
    if wanted:
        os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        if wanted:
            os.sched_setaffinity(0, before)
