"""The lock files hold what pyproject.toml asks for, on every supported Python, without contradiction."""

from __future__ import annotations

import sysconfig
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import lock
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXCLUDED = {line for line in (lock.LOCKS / "excluded.txt").read_text().splitlines() if not line.startswith("#")}


def pins(environment: dict[str, str], *names: str) -> dict[str, set[str]]:
    """Return the versions that these lock files hold for a machine, by package."""
    found: dict[str, set[str]] = {}
    for name in names:
        for line in (lock.LOCKS / f"{name}.txt").read_text().splitlines():
            if line.startswith("#"):
                continue
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                (exact,) = requirement.specifier
                assert exact.operator == "==", line
                found.setdefault(canonicalize_name(requirement.name), set()).add(exact.version)
    return found


def asked_for(*extras: str) -> Iterator[Requirement]:
    """Yield the direct dependencies of the project with these extras."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            yield from asked_for(*requirement.extras)
        else:
            yield requirement


@pytest.mark.parametrize("flavour", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "environment", lock.ENVIRONMENTS, ids=lambda each: f"{each['python_version']}-{each['platform_machine']}"
)
def test_every_direct_dependency_is_pinned_once_within_its_range(environment: dict[str, str], flavour: str) -> None:
    for files, extras in (((flavour,), (flavour,)), ((flavour, "dev"), (flavour, "dev"))):
        pinned = pins(environment, *files)
        assert all(len(versions) == 1 for versions in pinned.values())
        for requirement in asked_for(*extras):
            (version,) = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} is locked to {version}: run `make lock`"


def test_torch_is_built_for_the_flavour_and_what_would_break_it_is_left_out() -> None:
    cpu, cuda = (pins(environment, name) for environment in lock.ENVIRONMENTS[:1] for name in ("cpu", "cuda"))
    assert {version.rpartition("+")[2] for version in cpu["torch"]} == {"cpu"}
    assert not any("+cpu" in version for version in cuda["torch"])
    assert not EXCLUDED & set(cpu)
    assert {"torchvision", "torchaudio", "torchcodec"} == EXCLUDED


@pytest.mark.lengthy
def test_the_environment_of_these_tests_is_complete() -> None:
    # Of this environment alone: setuptools puts packages of its own on the path when it is imported.
    installed = metadata.distributions(path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    here = {canonicalize_name(found.metadata["Name"]): found for found in installed}
    locked = {
        canonicalize_name(Requirement(line).name)
        for name in ("cpu", "cuda", "dev")
        for line in (lock.LOCKS / f"{name}.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    for name in locked & set(here):
        for requirement in map(Requirement, here[name].requires or ()):
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and requirement.name not in EXCLUDED:
                dependency = here.get(canonicalize_name(requirement.name))
                assert dependency is not None, f"{name} needs {requirement}: run `make lock`"
                assert requirement.specifier.contains(dependency.version, prereleases=True), f"{name}: {requirement}"


def test_a_marker_that_always_holds_goes_and_so_does_a_pin_for_another_system() -> None:
    assert lock.simplified("uvloop==0.23.0 ; sys_platform != 'win32'") == "uvloop==0.23.0\n"
    assert lock.simplified("colorama==0.4.6 ; sys_platform == 'win32'") == ""
    older = "numpy==2.3.5 ; python_full_version < '3.13'"
    assert lock.simplified(older) == older + "\n"
