"""Reading a file that somebody else made: never a pipe or a device, and no more than a report can have."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MOST_BYTES = 256 << 20


def read_regular(path: Path) -> bytes:
    """Read a file; raise `ValueError` for devices, pipes and what is too large, before any of it is read."""
    # O_NONBLOCK: opening a pipe would otherwise wait for somebody who writes to it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("a device or a pipe")
        if found.st_size > MOST_BYTES:
            raise ValueError(f"{found.st_size:,} bytes, more than {MOST_BYTES:,}")
        return file.read(found.st_size)
