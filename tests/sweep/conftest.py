"""A sweep, lines of Python in place of its engine's process, and what starts sweeps on scripted engines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile
from engine_probe.sweep.engine_process import process
from engine_probe.sweep.execution import engine_run
from tests.support.sweeps.scripted_sweeps import SweepServer, write_recordings

TELL = "import os, sys; pipe = int(sys.argv[3]); tell = lambda text: os.write(pipe, text.encode() + b'\\n'); "


@pytest.fixture
def sweep() -> SweepFile:
    return msgspec.structs.replace(read_sweep("smoke"), repeats=1)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> object:
    """Lets these lines be the engine's process."""
    real = subprocess.Popen

    def plant(lines: str) -> None:
        def popen(command: list[str], **how: object) -> subprocess.Popen[bytes]:
            return real([sys.executable, "-c", TELL + lines, *command[1:]], **how)

        monkeypatch.setattr(process.subprocess, "Popen", popen)

    monkeypatch.setattr(engine_run, "TICK_SECONDS", 0.05)
    return plant


@pytest.fixture(scope="session")
def server() -> Iterator[SweepServer]:
    server = SweepServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings"))
