"""Files that are whole or not there: written beside their place and moved there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside `path` and move it there at the end; after an error nothing of it is left."""
    partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}")  # process ids repeat from container to container
    try:
        with partial.open("xb") as file:  # never through a link that somebody else put there
            yield file
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def atomic_write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)
