"""The planted load of other tests is there while it should be, and never longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import planted_load as module
from tests.support.processes.planted_load import planted_load
from tests.support.processes.waiting import wait_until

ROOT = Path(__file__).parents[2]
SMALL = 0.01


@pytest.mark.lengthy
def test_holds_its_share_of_the_memory() -> None:
    with planted_load(SMALL) as load:
        resident = int(Path(f"/proc/{load.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident >= SMALL * module.memory_bytes()
    assert load.returncode == -signal.SIGKILL


@pytest.mark.lengthy
def test_computes_all_the_while() -> None:
    with planted_load(SMALL) as load:
        before = cpu_ticks(load.pid)
        wait_until(lambda: cpu_ticks(load.pid) >= before + 5)


def test_ends_with_a_parent_that_is_killed() -> None:
    program = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.support.processes.planted_load import planted_load\n"
        f"with planted_load({SMALL}, cores=2) as load: print(load.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        load = int(parent.stdout.readline())
        both = [load, *children(load)]
        assert len(both) == 2
        parent.kill()
    wait_until(lambda: not any(map(runs, both)))


@pytest.mark.lengthy
@pytest.mark.parametrize("code", [0, 3])
def test_a_command_beside_it_keeps_its_exit_code(code: int) -> None:
    command = [
        sys.executable,
        module.__file__,
        "--memory",
        str(SMALL),
        sys.executable,
        "-c",
        f"raise SystemExit({code})",
    ]
    assert subprocess.call(command) == code


def cpu_ticks(pid: int) -> int:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
