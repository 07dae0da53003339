"""Run one set-up at a time, and end with one sentence where it cannot go on."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.flavour import FLAVOUR_VARIABLE, choose_flavour
from bootstrap.install import install
from bootstrap.place import Place, SetupError, say
from bootstrap.shell import Shell
from bootstrap.state import (
    check_space,
    is_ready,
    recipe,
    refuse_other_python,
    refuse_two_vllms,
    venv_python,
    write_stamp,
)

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def make_venv(place: Place, shell: Shell) -> None:
    """Make `.venv`, or keep one that is complete."""
    if place.venv.exists():
        if not (place.venv / "pyvenv.cfg").exists():
            raise SetupError(f"{place.venv} is there but is no Python environment: move it away")
        if venv_python(place) not in SUPPORTED:
            raise SetupError(f"{place.venv} was made with Python {venv_python(place)}: remove it")
        if shell.ask([place.python, "-c", "import pip"]).code == 0:
            return
    say(f"making .venv with Python {sys.version_info[0]}.{sys.version_info[1]}")
    place.mark_half_made(True)
    made = shell.ask([sys.executable, "-m", "venv", "--clear", place.venv])
    if made.code:
        raise SetupError(
            f"{sys.executable} -m venv could not make {place.venv} ({made.last_error}): install Python's venv module, "
            "or name another Python with `make PYTHON=...`"
        )


def check_vllm(place: Place, shell: Shell) -> None:
    say("importing vLLM once")
    answer = shell.ask([place.python, "-c", "import vllm"])
    if answer.code:
        raise SetupError(
            f"vLLM is installed but does not import ({answer.last_error}): remove {place.venv} and try again; if it "
            "fails the same way, report it with that line"
        )


def set_up(place: Place, flavour: str, dev: bool, shell: Shell) -> None:
    """Make `.venv` complete. If that fails, leave a complete `.venv` as it was, and none that is half made."""
    refuse_two_vllms(place, flavour)
    if is_ready(place, recipe(place, flavour, dev), dev):
        place.stamp(dev).touch()  # newer than pyproject.toml again, so that make does not ask next time
        return
    begun = time.monotonic()
    if place.remove_half_made():
        say("an earlier set-up was cut off: beginning anew")
    runs_sweeps = is_ready(place, recipe(place, flavour, dev=False), dev=False)
    check_space(place, flavour, shutil.disk_usage(place.root).free)
    try:
        make_venv(place, shell)
        place.log.write_bytes(b"")
        install(place, flavour, dev, shell)
        if not runs_sweeps:
            check_vllm(place, shell)
    except BaseException:
        if place.remove_half_made():
            say("removed the half-made .venv")
        raise
    place.mark_half_made(False)
    for level in {False, dev}:
        write_stamp(place, recipe(place, flavour, level), level)
    say(f"ready after {time.monotonic() - begun:.0f} s")


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the file's lock: two `make` at once take turns, and the second finds everything done."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work here: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def end_on_terminate(signal_number: int, frame: object) -> None:
    sys.exit(128 + signal_number)  # an exception, so that the installer is ended too


def main() -> int:
    place = Place(Path(__file__).resolve().parents[2])
    signal.signal(signal.SIGTERM, end_on_terminate)
    try:
        flavour = choose_flavour(os.environ.get(FLAVOUR_VARIABLE, ""))
        with locked(place.lock) as lock:
            if "--this-python" in sys.argv[1:]:
                refuse_other_python(place)
            set_up(place, flavour, "--dev" in sys.argv[1:], Shell(place, lock))
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
