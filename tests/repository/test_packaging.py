"""The wheel works outside the checkout: beside a vLLM that is there, and without one for reading recordings."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from bootstrap.install import pip_settings, uv_environment

import engine_probe
from engine_probe.sweep.definition.loader import shipped_names
from tests.support.recordings.run_folders import ran, write_run

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).parents[2]
INSTALLED = """
import engine_probe, importlib.metadata, importlib.util, pathlib
print(pathlib.Path(engine_probe.__file__).parent)
print(*(each.value for each in importlib.metadata.entry_points(group="vllm.general_plugins", name="engine_probe")))
print(importlib.util.find_spec("vllm") is not None)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def uvx() -> list[str]:
    """Return the words that run a command of a wheel in an environment of its own, with the locked versions."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("no uv in this environment: `make .venv/.engine-probe-ready` brings it")
    return [str(uv), "tool", "run", "--python", sys.executable, "--constraints", str(ROOT / "tools/locks/cpu.txt")]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """Return the environment in which uv finds packages where pip does, without the checkout."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    found = uv_environment(pip_settings(listed.stdout), os.environ)
    return {name: value for name, value in found.items() if name != "PYTHONPATH"}


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_sweeps_geometries_and_licences(wheel: Path) -> None:
    contents = zipfile.ZipFile(wheel)
    names = contents.namelist()
    shipped = [path for path in (ROOT / "sweeps").rglob("*") if path.is_file()]
    assert shipped
    for path in shipped:
        assert f"engine_probe/sweep/shipped/{path.relative_to(ROOT / 'sweeps')}" in names
    assert "engine_probe/engine/models/geometries/gpt2-xl/config.json" in names
    assert "engine_probe/sweep/shipped/sweep.schema.json" in names
    for package in ("engine_probe", "kernels_bench", "page_kit"):
        assert f"{package}/py.typed" in names
    assert {"page_kit/base.css", "page_kit/theme.js"} <= set(names)
    assert any(name.endswith("entry_points.txt") for name in names)
    (described,) = (contents.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert "License-Expression: Apache-2.0 AND MIT\n" in described
    for licence in ("LICENSE", "engine_probe/report/renderers/assets/uPlot.LICENSE"):
        assert f"License-File: {licence}\n" in described
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names)


def test_installed_elsewhere_it_lists_the_sweeps(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    where = "import engine_probe; print(engine_probe.__file__)"
    assert run([sys.executable, "-c", where], tmp_path, environment).startswith(str(tmp_path))
    listed = run([sys.executable, "-m", "engine_probe", "sweep", "--list"], tmp_path, environment)
    assert [line.split()[0] for line in listed.splitlines()] == shipped_names()


@pytest.mark.parametrize("way", ["wheel", pytest.param("git address", marks=pytest.mark.slow)])
def test_pip_installs_it_beside_a_vllm_and_changes_nothing_else(
    way: str, wheel: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    """The new environment sees this one's packages; without an index pip could bring no other."""
    if way == "git address" and not ((ROOT / ".git").exists() and shutil.which("git")):
        pytest.skip("no git repository here")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    (packages / "these.pth").write_text("\n".join(site.getsitepackages()))
    source = str(wheel) if way == "wheel" else f"git+file://{ROOT}"
    command = [str(python), "-m", "pip", "install", "--no-index", "--no-build-isolation", source]
    assert "Successfully installed engine-probe-" in run(command, tmp_path, settings).splitlines()[-1]
    assert {path.name.partition("-")[0] for path in packages.glob("*.dist-info")} == {"engine_probe"}
    there = run([str(python), "-c", INSTALLED], tmp_path, settings).splitlines()
    assert there == [str(packages / "engine_probe"), "engine_probe.plugin:register", "True"]
    assert "smoke" in run([str(packages.parents[2] / "bin" / "engine_probe"), "sweep", "--list"], tmp_path, settings)


def test_a_laptop_without_vllm_and_torch_shows_recordings(
    wheel: Path, uvx: list[str], settings: dict[str, str], tmp_path: Path
) -> None:
    recording = write_run(tmp_path / "recording", ran(4))
    command = [*uvx, "--from", str(wheel)]
    absent = "import importlib.util as u; print([name for name in ('vllm', 'torch') if u.find_spec(name)])"
    assert run([*command, "python", "-c", absent], tmp_path, settings) == "[]\n"
    shown = run([*command, "engine_probe", "report", str(recording), "--html", "page.html"], tmp_path, settings)
    assert "tokens" in shown
    assert "uPlot" in (tmp_path / "page.html").read_text()


def test_the_version_is_told_installed_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert engine_probe.__version__ == metadata.version("engine-probe")
    monkeypatch.setattr(metadata, "version", not_installed)
    assert engine_probe.__version__ == told
