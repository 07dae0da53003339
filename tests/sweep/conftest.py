"""A sweep, and lines of Python in place of its engine's process."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from engine_probe.sweep import engine_lifetime, one_engine
from engine_probe.sweep.plan import SweepFile
from engine_probe.sweep.read import read_sweep

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

        monkeypatch.setattr(engine_lifetime.subprocess, "Popen", popen)

    monkeypatch.setattr(one_engine, "TICK_SECONDS", 0.05)
    return plant
