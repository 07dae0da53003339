"""Files of other machines' engines, as they come to be here: whole or not at all, and never over another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine_probe.errors import UnavailableError
from engine_probe.sweep.execution.folders import set_aside


def reserved(log: Path) -> Path:
    """Exists from now on, so that no other lane takes its name."""
    with naming(log):
        log.touch(exist_ok=False)
    return log


@contextmanager
def arriving(place: Path) -> Iterator[Path]:
    """A folder beside `place`, which becomes `place` when everything is in it."""
    partial = place.with_name(f".{place.name}.partial")
    with naming(place):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            set_aside(place)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A full or closed disk ends the sweep with a sentence."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"cannot write {path}: {error.strerror}; every finished point is kept, go on with --resume"
        ) from error
