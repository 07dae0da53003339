"""`doctor --deep` runs an engine as a measurement does, and says which step broke."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine_probe.commands.doctor import deep
from engine_probe.commands.doctor.check_result import FINE, PROBLEM
from engine_probe.sweep.engine_process import process
from tests.support.recordings.run_folders import ran, write_run

TELL = "import os, sys; pipe = int(sys.argv[3]); tell = lambda text: os.write(pipe, text.encode() + b'\\n'); "


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def plant(monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    """Let these lines be the engine's process."""
    real = subprocess.Popen

    def popen(command: list[str], **how: object) -> subprocess.Popen[bytes]:
        return real([sys.executable, "-c", TELL + lines, *command[1:]], **how)

    monkeypatch.setattr(process.subprocess, "Popen", popen)


def test_an_engine_that_does_not_start(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    plant(monkeypatch, "print('RuntimeError: no compiler', flush=True); sys.exit(3)")
    (check,) = deep.check_engine()
    assert (check.state, check.what) == (PROBLEM, "engine")
    assert "RuntimeError: no compiler" in check.found
    (log,) = scratch.rglob("engine.log")
    assert str(log) in check.to_do


def test_an_engine_that_dies_while_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, """tell('{"type":"Began","number":0}'); os.kill(os.getpid(), 4)""")
    engine, generation = deep.check_engine()
    assert (engine.state, engine.what) == (FINE, "engine")
    assert (generation.state, generation.what) == (PROBLEM, "generation")
    assert "SIGILL" in generation.found


@pytest.mark.parametrize("status", ["cut", "missing"])
def test_a_recording_that_is_not_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str) -> None:
    folder = tmp_path / "recording"
    folder.mkdir()
    if status == "cut":
        (folder / "run.json").write_text(json.dumps({"schema_version": 1}))
    (check,) = deep.opened(folder)
    assert (check.state, check.what) == (PROBLEM, "recording")
    assert str(folder) in f"{check.found} {check.to_do}"


@pytest.mark.parametrize(("status", "state"), [("complete", FINE), ("incomplete", PROBLEM)])
def test_a_recording_that_opens(tmp_path: Path, status: str, state: str) -> None:
    folder = write_run(tmp_path / "recording", ran(2))
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"status": status}))
    assert [(check.state, check.what) for check in deep.opened(folder)] == [(state, "recording")]


def test_a_recording_without_a_step(tmp_path: Path) -> None:
    (check,) = deep.opened(write_run(tmp_path / "recording", {}))
    assert (check.state, check.found.split(",")[:2]) == (PROBLEM, ["complete", " 0 iterations"])
