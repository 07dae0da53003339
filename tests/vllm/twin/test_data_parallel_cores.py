"""A twin of data-parallel cores beside vLLM's own: which core gets which request, and how many steps each takes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.processes.command import ENGINE_SECONDS


def ran(kind: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.engines.data_parallel_cores", kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * ENGINE_SECONDS)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow  # three processes with an engine each
def test_each_core_gets_the_requests_and_takes_the_steps_of_a_real_one() -> None:
    real, twin = ran("real"), ran("twin")
    assert len(real["cores"]) == 33
    assert twin["cores"] == real["cores"]
    # A real core may begin before all of the 24 have reached it, which takes it a step or two more.
    assert all(0 <= mine - own <= 2 for mine, own in zip(real["steps"], twin["steps"], strict=True))
