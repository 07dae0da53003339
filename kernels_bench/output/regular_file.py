"""Safe reading of a file from elsewhere: never a pipe or a device, and not more than a report can have."""

import os
import stat
from pathlib import Path

MOST_BYTES = 256 << 20


def read_regular(path: Path) -> bytes:
    """Read a file; raise ValueError for a device, a pipe or a file that is too large, before reading any of it."""
    # O_NONBLOCK, because opening a pipe would wait for a writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("a device or a pipe")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"{status.st_size:,} bytes, more than {MOST_BYTES:,}")
        return file.read(status.st_size)
