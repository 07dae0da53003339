"""The wheel built from the tree works outside the checkout and carries the sweeps."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import engine_probe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_sweeps_geometries_and_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for sweep in (ROOT / "sweeps").glob("*.toml"):
        assert f"engine_probe/sweep/shipped/{sweep.name}" in names
    assert "engine_probe/engine/geometries/gpt2-xl/config.json" in names
    assert "engine_probe/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("entry_points.txt") for name in names)


def test_installed_elsewhere_it_lists_the_sweeps(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    where = "import engine_probe; print(engine_probe.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(tmp_path))
    command = [sys.executable, "-m", "engine_probe", "sweep", "--list"]
    listed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == sorted(
        path.stem for path in (ROOT / "sweeps").glob("*.toml")
    )


def test_the_version_is_told_installed_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert engine_probe.__version__ == metadata.version("engine-probe")
    monkeypatch.setattr(metadata, "version", not_installed)
    assert engine_probe.__version__ == told
