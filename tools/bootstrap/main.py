"""One set-up at a time, and one sentence where it cannot go on."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.flavour import FLAVOUR_VARIABLE, choose_flavour
from bootstrap.place import Place, SetupError, say
from bootstrap.shell import RealShell
from bootstrap.state import refuse_other_python
from bootstrap.steps import set_up


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Holds the file's lock: two `make` at once take turns, and the second finds everything done."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work here: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def end_on_terminate(signal_number: int, frame: object) -> None:
    sys.exit(128 + signal_number)  # an exception, so that pip is ended too


def main() -> int:
    place = Place(Path(__file__).resolve().parents[2])
    named = "--this-python" in sys.argv[1:]
    signal.signal(signal.SIGTERM, end_on_terminate)
    try:
        flavour = choose_flavour(os.environ.get(FLAVOUR_VARIABLE, ""))
        with locked(place.lock) as lock:
            if named:
                refuse_other_python(place)
            set_up(place, flavour, RealShell(place, lock), lambda: shutil.disk_usage(place.root).free)
    except SetupError as error:
        sys.stderr.write(f"set-up: {error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"set-up: {error.filename or place.root}: {error.strerror}: mend that and try again\n")
        return 3
    except KeyboardInterrupt:
        sys.stderr.write("\nset-up: interrupted\n")
        return 130
    return 0
