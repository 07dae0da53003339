"""A sweep that is cut, and gone on with: by Ctrl-C, by the death of its engine, by its own.

The command is the real one in a process of its own (`tests/support/sweeps/scripted_sweeps.py`); its engines are
scripted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes.waiting import wait_until
from tests.support.sweeps.scripted_sweeps import ScriptedSweeps, SweepServer

pytestmark = pytest.mark.lengthy  # half a second of CPU for each sweep, in processes of its own

GRID = """
question = "Does it go on?"
[engine]
model = "tiny"
[workload]
input_len = 48
output_len = 40
"""
LEVELS = '[axes]\n"workload.concurrency" = [1, 2, 4, 8]\n'
SEARCH = '[adaptive]\naxis = "workload.concurrency"\nfrom = 1\nto = 16\n'
INTERRUPTED = 130
INTERRUPTING = """
import contextlib, signal, sys
class OnImport:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
                for _ in range(1000): pass
sys.meta_path.insert(0, OnImport())
"""


@pytest.fixture
def sweeps(tmp_path: Path, server: SweepServer, recordings: Path) -> ScriptedSweeps:
    (tmp_path / "grid.toml").write_text(GRID + LEVELS)
    (tmp_path / "search.toml").write_text(GRID + SEARCH)
    return ScriptedSweeps(tmp_path, server, recordings)


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def at(sweeps: ScriptedSweeps, level: int) -> Callable[[], bool]:
    return lambda: level in sweeps.levels


def test_a_quiet_sweep_measures_every_point_once_on_one_engine(sweeps: ScriptedSweeps) -> None:
    done = sweeps.run("grid.toml", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert sweeps.levels == [1, 2, 4, 8]
    assert len({process for _, process in sweeps.begun}) == 1
    assert sweeps.statuses() == dict.fromkeys([1, 2, 4, 8], "complete")
    assert sweeps.rows[8]["peak_running"] > sweeps.rows[2]["peak_running"]


def test_ctrl_c_in_a_point_keeps_those_before_and_resume_measures_the_rest(sweeps: ScriptedSweeps) -> None:
    sweeps.script(c4="hang")
    sweeps.begin("grid.toml", "--out", "out")
    wait_until(at(sweeps, 4))
    sweeps.interrupt()
    done = sweeps.end()
    assert done.returncode == INTERRUPTED, done.stderr
    assert done.stderr.splitlines()[-1] == "interrupted: what is complete is kept; continue with --resume out"
    assert sweeps.statuses() == {1: "complete", 2: "complete"}
    assert is_gone(sweeps.begun[-1][1])
    sweeps.script()
    again = sweeps.run("grid.toml", "--resume", "out")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("measured before") == 2
    assert sweeps.levels == [1, 2, 4, 4, 8]
    assert list(sweeps.statuses()) == [1, 2, 4, 8]


def test_ctrl_c_while_the_engine_starts_leaves_nothing(sweeps: ScriptedSweeps) -> None:
    sweeps.script(start="hang")
    sweeps.begin("grid.toml", "--out", "out")
    wait_until((sweeps.out / "engine.log").exists)
    sweeps.interrupt()
    done = sweeps.end()
    assert done.returncode == INTERRUPTED
    assert done.stderr.splitlines()[-1] == "interrupted before anything was recorded"
    assert not sweeps.out.exists()


def test_ctrl_c_while_pandas_is_imported_is_not_lost(sweeps: ScriptedSweeps) -> None:
    """What the import raises is ignored, as Python ignores what its own callbacks raise."""
    sweeps.script(start="hang")
    command = (
        "from tests.support.sweeps.scripted_sweeps import sweep_command; sweep_command('grid.toml', '--out', 'out')"
    )
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTING + command],
        cwd=sweeps.folder,
        env=sweeps.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == INTERRUPTED
    assert done.stderr.splitlines()[-1] == "interrupted before anything was recorded"


def test_ctrl_c_twice_ends_it_although_the_engine_does_not(sweeps: ScriptedSweeps) -> None:
    """The first waits for the engine to let go of its files; the second does not. The engine ends with the sweep."""
    sweeps.script(c2="stubborn")
    sweeps.begin("grid.toml", "--out", "out")
    wait_until(at(sweeps, 2))
    sweeps.interrupt()
    wait_until((sweeps.folder / "asked-to-end").exists)
    sweeps.interrupt()
    assert sweeps.end().returncode == INTERRUPTED
    assert sweeps.statuses() == {1: "complete"}
    os.kill(sweeps.begun[-1][1], signal.SIGKILL)  # a real engine asks the kernel to end it with its parent


def test_an_engine_that_is_killed_costs_its_point_alone(sweeps: ScriptedSweeps) -> None:
    sweeps.script(c2="hang")
    sweeps.begin("grid.toml", "--out", "out")
    wait_until(at(sweeps, 2))
    os.kill(sweeps.begun[-1][1], signal.SIGKILL)
    done = sweeps.end()
    assert done.returncode == 1, done.stderr
    assert sweeps.statuses() == {1: "complete", 2: "failed", 4: "complete", 8: "complete"}
    assert "SIGKILL" in sweeps.rows[2]["reason"]
    assert len({process for _, process in sweeps.begun}) == 2
    assert sorted(path.name for path in sweeps.out.glob("*.log")) == ["engine-2.log", "engine.log"]
    sweeps.script()
    assert sweeps.run("grid.toml", "--resume", "out").returncode == 0
    assert sweeps.levels == [1, 2, 4, 8, 2]
    assert set(sweeps.statuses().values()) == {"complete"}


@pytest.mark.parametrize(
    ("action", "reason", "engines"),
    [("die", "SIGKILL", 2), ("fail", "out of memory in the middle", 2), ("refuse", "it cannot be asked", 1)],
)
def test_a_point_that_fails_is_a_row_and_the_others_are_measured(
    sweeps: ScriptedSweeps, action: str, reason: str, engines: int
) -> None:
    sweeps.script(c4=action)
    done = sweeps.run("grid.toml", "--out", "out")
    assert done.returncode == 1, done.stderr
    assert sweeps.statuses() == {1: "complete", 2: "complete", 4: "failed", 8: "complete"}
    assert reason in sweeps.rows[4]["reason"]
    assert len({process for _, process in sweeps.begun}) == engines


def test_a_sweep_whose_points_all_fail_ends_with_the_last_reason_and_its_code(sweeps: ScriptedSweeps) -> None:
    sweeps.script(**{f"c{level}": "refuse" for level in (1, 2, 4, 8)})
    done = sweeps.run("grid.toml", "--out", "out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "engine_probe: it cannot be asked"


def test_a_sweep_that_is_killed_goes_on_where_it_was(sweeps: ScriptedSweeps) -> None:
    sweeps.script(c4="hang")
    sweeps.begin("grid.toml", "--out", "out")
    wait_until(at(sweeps, 4))
    sweeps.kill()
    sweeps.end()
    os.kill(sweeps.begun[-1][1], signal.SIGKILL)  # a real engine asks the kernel to end it with its parent
    assert sweeps.statuses() == {1: "complete", 2: "complete"}
    sweeps.script()
    assert sweeps.run("grid.toml", "--resume", "out").returncode == 0
    assert sweeps.levels == [1, 2, 4, 4, 8]
    assert list(sweeps.statuses()) == [1, 2, 4, 8]


def test_a_search_asks_for_points_until_it_knows(sweeps: ScriptedSweeps) -> None:
    done = sweeps.run("search.toml", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert sweeps.levels[:3] == [1, 2, 4]
    assert len(sweeps.levels) == len(set(sweeps.levels)) == len(sweeps.rows)
    assert len({process for _, process in sweeps.begun}) == 1
    assert "throughput saturates at concurrency " in done.stderr


def test_a_search_that_is_cut_takes_the_same_way_and_measures_nothing_twice(sweeps: ScriptedSweeps) -> None:
    sweeps.script(c4="hang")
    sweeps.begin("search.toml", "--out", "out")
    wait_until(at(sweeps, 4))
    sweeps.interrupt()
    assert sweeps.end().returncode == INTERRUPTED
    assert sweeps.statuses() == {1: "complete", 2: "complete"}
    sweeps.script()
    again = sweeps.run("search.toml", "--resume", "out")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("measured before") == 2
    assert sweeps.levels[:5] == [1, 2, 4, 4, *sweeps.levels[4:5]]
    assert sorted([1, 2, *sweeps.levels[3:]]) == sorted(sweeps.rows)


def test_a_search_ends_at_a_point_that_fails_and_says_why(sweeps: ScriptedSweeps) -> None:
    sweeps.script(c4="die")
    done = sweeps.run("search.toml", "--out", "out")
    assert done.returncode == 1, done.stderr
    assert sweeps.statuses() == {1: "complete", 2: "complete", 4: "failed"}
    assert "nothing found: concurrency 4: the engine's process ended by signal SIGKILL" in done.stderr
