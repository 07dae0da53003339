"""Compare what `.venv` holds with what the checkout asks for."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib

from bootstrap.flavour import FLAVOUR_VARIABLE, OTHER_VLLM, TESTED
from bootstrap.place import Place, SetupError

# Packages, what is unpacked on the way, and room for the embedded model.
NEEDED_GIB = {"cpu": 6, "cuda": 12}
NEEDED_GIB_FOR_UPDATE = 1


def recipe(place: Place, flavour: str, dev: bool) -> str:
    """Return a digest that changes when an environment made earlier no longer suffices."""
    try:
        pyproject = tomllib.loads((place.root / "pyproject.toml").read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{place.root / 'pyproject.toml'} is not valid TOML: {error}; mend that line", 2) from error
    # The rest of pyproject.toml configures tools, and needs no new installation.
    parts = [pyproject["build-system"], pyproject["project"], venv_python(place)]
    parts += [path.read_text(encoding="utf-8") for path in place.locks(flavour, dev)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def venv_python(place: Place) -> str:
    """Return the Python version of the environment, such as 3.11, or of the one about to be made."""
    try:
        settings = (place.venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        settings = ""
    found = re.search(r"^version\S*\s*=\s*(\d+\.\d+)", settings, re.MULTILINE)
    return found.group(1) if found else f"{sys.version_info[0]}.{sys.version_info[1]}"


def is_ready(place: Place, wanted: str, dev: bool) -> bool:
    try:
        return not place.half_made and place.stamp(dev).read_text().strip() == wanted and place.python.exists()
    except OSError:
        return False


def write_stamp(place: Place, wanted: str, dev: bool) -> None:
    partial = place.stamp(dev).with_suffix(".partial")
    partial.write_text(wanted + "\n", encoding="utf-8")
    partial.replace(place.stamp(dev))


def installed_version(place: Place, distribution: str) -> str:
    """Return the version that `.venv` holds, or an empty string."""
    folder_name = distribution.replace("-", "_")
    for folder in place.venv.glob(f"lib/python*/site-packages/{folder_name}-*.dist-info"):
        return folder.name.removesuffix(".dist-info").removeprefix(folder_name + "-")
    return ""


def refuse_other_python(place: Place) -> None:
    """Refuse to use another Python than the one that was named."""
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
