"""Write the packages of the lock files into `.venv`, with uv, or with pip where uv does not work."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from bootstrap.flavour import TESTED
from bootstrap.place import Place, SetupError, say
from bootstrap.settings import pip_settings, uv_environment, uv_toml_keys
from bootstrap.shell import Answer, Shell

INSTALLER_VARIABLE = "ENGINE_PROBE_INSTALLER"
NETWORK = re.compile(r"(Connection|Proxy|Timeout|SSL)Error|name resolution|Failed to fetch|error sending request")
FULL_DISK = re.compile(r"No space left on device|Errno 28")
NO_VERSIONS = re.compile(r"No solution found")
NO_TORCH = re.compile(r"(No matching distribution found for |no version of |Failed to fetch\S* \S*/)torch\b")
WRITING = re.compile(r"^(Installing collected|Prepared|Uninstalled|Installed|error: Failed to install)", re.MULTILINE)


def install(place: Place, flavour: str, dev: bool, shell: Shell) -> None:
    locked = ["--no-deps", *locked_torch(place, flavour), "-e", place.root]
    locked += [word for path in place.locks(flavour, dev) for word in ("-r", path)]
    uv = fetch_uv(place, shell)
    what = f"engine_probe with {TESTED[flavour]}{' and what the tests need' if dev else ''}"
    say(f"installing {what} with {'uv' if uv else 'pip'}; its output goes to {place.log}")
    if uv:
        answer = install_with_uv(place, flavour, dev, shell, uv, locked)
        if not answer.code:
            return
        if any(pattern.search(answer.text) for pattern in (NO_TORCH, NO_VERSIONS, FULL_DISK)):  # pip could do no better
            raise SetupError(explain(answer))
        say(f"uv failed ({answer.last_error}): pip takes over, which takes some minutes")
    # Modules are compiled when they are first imported, as with uv.
    answer = write_packages(place, shell, pip(place, "install", "--no-compile", "--progress-bar", "off", *locked))
    if answer.code:
        raise SetupError(explain(answer))


def pip(place: Place, *arguments: object) -> list[object]:
    return [place.python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]


def pinned(name: str, lock: Path) -> list[str]:
    return re.findall(rf"^{name}==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)


def locked_torch(place: Place, flavour: str) -> list[object]:
    """Return the requirements that select the right build of torch."""
    pins = pinned("torch", place.locks(flavour, dev=False)[0])
    # A folder of wheels may hold a CPU build, which counts as the newer one of the same version.
    return [f"torch=={pin}" if flavour == "cpu" else f"torch=={pin},!={pin}+cpu" for pin in pins]


def fetch_uv(place: Place, shell: Shell) -> Path | None:
    """Return the path of uv in `.venv`, or None where it cannot be had. Raise where the index cannot be reached."""
    path = place.venv / "bin" / "uv"
    if os.environ.get(INSTALLER_VARIABLE) == "pip":
        return None
    if path.exists():
        return path
    say("fetching uv")
    impatient = ("--retries", "1", "--timeout", "20")  # to report a missing network soon
    (version,) = pinned("uv", place.locks("dev", dev=False)[0])
    answer = shell.work(pip(place, "install", "--no-deps", "--progress-bar", "off", *impatient, f"uv=={version}"))
    if answer.code and NETWORK.search(answer.text):
        raise SetupError(explain(answer))
    if answer.code:
        say(f"uv cannot be had ({answer.last_error}): pip takes its place, which takes some minutes")
    return None if answer.code else path


def install_with_uv(place: Place, flavour: str, dev: bool, shell: Shell, uv: Path, locked: list[object]) -> Answer:
    """Install the locked versions, or others within pyproject.toml's ranges where those cannot be had."""
    settings = pip_settings(shell.ask(pip(place, "config", "list")).text)
    environment = uv_environment(settings, os.environ, uv_toml_keys(os.environ))
    command = [uv, "pip", "install", "--python", place.python]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        command.append("--no-index")
    torch = locked_torch(place, flavour)
    asked = shell.ask([*command, "--dry-run", "--no-deps", *torch], environment)
    if flavour == "cpu" and NO_VERSIONS.search(asked.text):
        say(f"the configured index lacks {torch[0]}: taking it from PyTorch's own index")
        command += ["--torch-backend", "cpu"]
    if platform.machine() in ("x86_64", "aarch64"):  # which the lock files are for
        answer = write_packages(place, shell, [*command, *locked], environment)
        if not NO_VERSIONS.search(answer.text):
            return answer
        say("the locked versions cannot be had here: uv chooses others that pyproject.toml allows")
    if flavour == "cpu":
        command += ["--excludes", place.root / "tools" / "locks" / "excluded.txt"]
    extras = f"{place.root}[{flavour}{',dev' if dev else ''}]"
    return write_packages(place, shell, [*command, *torch, TESTED[flavour], "-e", extras], environment)


def write_packages(
    place: Place, shell: Shell, command: list[object], environment: Mapping[str, str] = os.environ
) -> Answer:
    """Mark the environment as half made while packages are written. Unmark a complete one that was left untouched."""
    was_half_made = place.half_made
    place.mark_half_made(True)
    answer = shell.work(command, environment)
    if answer.code and not WRITING.search(answer.text):
        place.mark_half_made(was_half_made)
    return answer


def explain(answer: Answer) -> str:
    """Return the sentence for a failed installation."""
    text = answer.text
    if FULL_DISK.search(text):
        return (
            "the disk filled up while installing: free some space (TMPDIR and UV_CACHE_DIR move what is unpacked) "
            "and try again"
        )
    if NO_TORCH.search(text):
        return (
            "torch cannot be had: the package index lacks this build and PyTorch's own index cannot be reached; set "
            "PIP_EXTRA_INDEX_URL to a mirror of that index, or PIP_FIND_LINKS to a folder that holds the wheel"
        )
    if "from versions: none" in text or NETWORK.search(text):
        return (
            f"the package index cannot be reached ({answer.last_error}): check the network and proxy, or name a "
            "mirror in PIP_INDEX_URL or a folder of wheels in PIP_FIND_LINKS"
        )
    if "No matching distribution found" in text:
        return f"the package index lacks something for this Python and machine: {answer.last_error}"
    cause = re.search(r"^\s*cause: (.*)", text, re.MULTILINE)
    return f"the packages cannot be installed: {cause.group(1) if cause else answer.last_error}"
