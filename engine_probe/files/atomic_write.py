"""Atomic writing: a file is written under another name and then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engine_probe.errors import UnavailableError


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file and rename it to `path` at the end; an error removes it."""
    partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}")  # process ids repeat between containers
    try:
        with partial.open("xb") as file:  # never through a link that another user created
            yield file
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path, way_out: str = "free some space") -> Iterator[None]:
    """Turn an OSError into a sentence that names the file and a way out."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror}; {way_out}") from error


def atomic_write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)
