"""Files written under another name and then renamed; new ones never over another. `-` is standard output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engine_probe.errors import InputError, UnavailableError


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


STANDARD_OUTPUT = Path("-")


@contextmanager
def fresh_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file at `path` that appears once it is complete."""
    check_free(path)
    if path == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with writing(path, "name another file"), atomic_file(path) as file:
        yield file


def check_free(*paths: Path | None) -> None:
    """Refuse, before the work, paths at which its results cannot be written."""
    named = [path for path in paths if path is not None]
    for path in named:
        if named.count(path) > 1:
            raise InputError(f"{path} is named twice: give each output a file of its own")
        if path == STANDARD_OUTPUT:
            continue
        if path.exists():
            raise InputError(f"{path} exists already and is never overwritten: name another file")
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
