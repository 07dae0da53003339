"""Files that are copied here from the engines of other machines: whole or not at all, and never over another."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine_probe.files.atomic_write import writing
from engine_probe.sweep.execution.folders import PARTIAL, RESUMABLE, new_log, set_aside


def reserve_log(folder: Path) -> Path:
    """Make an empty log with a free name, which no other engine group takes from now on."""
    while True:
        log = new_log(folder)
        with writing(log, RESUMABLE), suppress(FileExistsError):
            log.touch(exist_ok=False)
            return log


@contextmanager
def arriving(recording: Path) -> Iterator[Path]:
    """Give a folder beside the recording's, which takes its place when everything is in it."""
    partial = recording.with_name(f".{recording.name}{PARTIAL}")
    with writing(recording, RESUMABLE):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            set_aside(recording)
            partial.rename(recording)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
