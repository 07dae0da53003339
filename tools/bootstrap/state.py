"""What `.venv` holds already, and whether that is what pyproject.toml asks for."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib

from bootstrap.flavour import FLAVOUR_VARIABLE, OTHER_VLLM, TESTED, TRAPS
from bootstrap.place import Place, SetupError

# Packages, what pip unpacks on its way, and room for the embedded model.
NEEDED_GIB = {"cpu": 6, "cuda": 12}
NEEDED_GIB_FOR_UPDATE = 1
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


def recipe(place: Place, flavour: str) -> str:
    """Changes when an environment made from an earlier pyproject.toml will not do any more."""
    try:
        pyproject = tomllib.loads((place.root / "pyproject.toml").read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{place.root / 'pyproject.toml'} is not valid TOML: {error}; mend that line", 2) from error
    project = pyproject["project"]
    sections = {name: project.get(name) for name in INSTALLED_SECTIONS}
    sections.update(build=pyproject["build-system"], vllm=TESTED[flavour], without=TRAPS, python=venv_python(place))
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


def refuse_other_python(place: Place) -> None:
    """A Python that was asked for by name is not quietly another one."""
    asked, there = f"{sys.version_info[0]}.{sys.version_info[1]}", venv_python(place)
    if asked != there:
        raise SetupError(f"{place.venv} was made with Python {there}, and {asked} is asked for: remove it first", 2)


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
