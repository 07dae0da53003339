"""New files, written atomically and never over another; `-` is standard output."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine_probe.errors import InputError
from engine_probe.files.atomic_write import atomic_file, writing

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
