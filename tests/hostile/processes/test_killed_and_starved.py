"""A short campaign with a fixed seed: kills at random moments, and recordings on hosts that lack something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.processes.conditions import CONDITIONS
from tests.hostile.processes.kills import KINDS

ROOT = Path(__file__).parents[3]
HOSTS = ("nothing", "no thread can start", "16 MiB of memory left", "a full disk (64 kB in all)", "EIO, later")


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_starved_recordings_are_whole_or_say_what_is_wrong() -> None:
    """In a process of its own: what is forked must have none of the threads that pytest's has."""
    assert set(HOSTS) <= set(CONDITIONS)
    words = ["kills", "hosts", "--kills", str(len(KINDS)), "--only", ";".join(HOSTS)]
    command = [sys.executable, "-m", "tests.hostile.processes", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=870)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("kill ") == len(KINDS)
    assert all(f"{host}: " in done.stderr for host in HOSTS)
