"""The steps from nothing to a complete `.venv`."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from bootstrap.flavour import TESTED, TRAPS
from bootstrap.place import Place, SetupError, say
from bootstrap.shell import Answer, Shell
from bootstrap.state import check_space, installed_version, is_ready, recipe, refuse_two_vllms, venv_python

# Markers in dependencies are PEP 508: pip carries the reader of that language.
READ_REQUIREMENTS = """
import json, sys
from pip._vendor.packaging.requirements import Requirement
needs = map(Requirement, json.load(sys.stdin))
print(json.dumps([str(n).split(";")[0] for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]))
"""


def make_venv(place: Place, shell: Shell) -> None:
    """Keeps an environment that is whole."""
    if place.venv.exists() and not place.making:
        if not (place.venv / "pyvenv.cfg").exists():
            raise SetupError(f"{place.venv} is there but is no Python environment: move it away")
        if venv_python(place) not in ("3.11", "3.12", "3.13"):
            raise SetupError(f"{place.venv} was made with Python {venv_python(place)}: remove it")
        if shell.ask([place.python, "-c", "import pip"]).code == 0:
            return
    say(f"making .venv with Python {sys.version_info[0]}.{sys.version_info[1]}")
    place.mark_making(True)
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


def provide_torch(place: Place, flavour: str, shell: Shell) -> list[str]:
    """What pip is to be told of torch beside vLLM's own requirement.

    A build such as 2.13.0+cpu is not on PyPI: where pip cannot find it, uv knows PyTorch's own index by itself.

    That index is used for torch alone: beside pip's own, an unreachable one costs seconds per package.
    """
    torch = required_torch(place, flavour, shell)
    build = torch.partition("+")[2]
    if not build:
        # A folder of wheels may hold a CPU build, which counts as the newer one of the same version.
        return [f"{torch},!={torch.removeprefix('torch==')}+cpu"] if "==" in torch else []
    if installed_version(place, "torch") == torch.removeprefix("torch=="):
        return []
    if ask_index(place, torch, shell).code == 0:
        return []
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
    return []


def install(place: Place, flavour: str, shell: Shell, torch: list[str]) -> None:
    name, _, version = TESTED[flavour].partition("==")
    if installed_version(place, name) == version:
        # Asked for again, pip would bring the three traps back beside engines that are running.
        project = ["-e", f"{place.root}[models,dev]"]
        say(f"{TESTED[flavour]} is there: bringing the rest up to date; all output is in {place.log}")
    else:
        project = ["-e", f"{place.root}[{flavour},dev]", TESTED[flavour], *torch]
        say(f"installing engine_probe with {TESTED[flavour]}, some minutes; all output is in {place.log}")
    answer = write_packages(place, pip(place, "install", "--progress-bar", "off", *project), shell)
    if answer.code:
        raise SetupError(explain(answer))


def write_packages(place: Place, command: list[object], shell: Shell) -> Answer:
    """Marks the environment as unfinished for as long as packages may be half written."""
    place.unfinished.touch()
    answer = shell.work(command)
    if not answer.code or not re.search(r"^(Installing collected|Prepared|Installed) ", answer.out, re.MULTILINE):
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
    place.mark_making(False)
    partial = place.stamp.with_suffix(".partial")
    partial.write_text(wanted + "\n", encoding="utf-8")
    partial.replace(place.stamp)


def set_up(place: Place, flavour: str, shell: Shell, free_bytes: Callable[[], int]) -> None:
    """Whatever ends it early leaves no half-made environment behind; what a `kill -9` leaves the next one removes."""
    refuse_two_vllms(place, flavour)
    wanted = recipe(place, flavour)
    if is_ready(place, wanted):
        place.stamp.touch()  # newer than pyproject.toml again, so that make does not ask next time
        return
    begun = time.monotonic()
    if place.remove_half_made():
        say("an earlier set-up was cut off: beginning anew")
    check_space(place, flavour, free_bytes())
    try:
        make_venv(place, shell)
        place.stamp.unlink(missing_ok=True)
        place.log.write_bytes(b"")
        install(place, flavour, shell, provide_torch(place, flavour, shell))
        remove_traps(place, shell)
        check_vllm(place, shell)
        finish(place, recipe(place, flavour))
    except BaseException:
        if place.remove_half_made():
            say("removed the half-made .venv")
        raise
    say(f"ready after {time.monotonic() - begun:.0f} s")
