"""A file that is whole or not there, and never over another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine_probe.errors import InputError, UnavailableError


@contextmanager
def fresh_file(path: Path) -> Iterator[BinaryIO]:
    """Opened for writing beside its place, and moved there when all is written."""
    check_free(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror}; name another file") from error
    finally:
        partial.unlink(missing_ok=True)


def check_free(*paths: Path | None) -> None:
    """Said before the work whose result would find no place."""
    named = [path for path in paths if path is not None]
    for path in named:
        if path.exists():
            raise InputError(f"{path} exists already and is never overwritten: name another file")
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
        if named.count(path) > 1:
            raise InputError(f"{path} is named twice: give each form a file of its own")
