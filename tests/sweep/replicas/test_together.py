"""A point on two engines: they begin together, add up to one row, and fail together.

The command is the real one in a process of its own (`tests/support/sweeps/scripted_sweeps.py`); its engines are
scripted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine_probe import load
from engine_probe.recordings.sweep import load_sweep
from tests.support.processes.waiting import wait_until
from tests.support.sweeps.scripted_sweeps import ScriptedSweeps, SweepServer

TWO = """
question = "Do they add up?"
replicas = 2
[engine]
model = "tiny"
[workload]
input_len = 48
output_len = 40
[axes]
"workload.concurrency" = [2, 4]
"""
MIX = (
    TWO.replace("replicas = 2", "")
    + """
[[mix]]
engine = { model = "tiny", arguments = { max_num_seqs = 8 } }
workload = { input_len = 48, output_len = 40, concurrency = 8 }
"""
)
INTERRUPTED = 130

pytestmark = [
    pytest.mark.lengthy,  # half a second of CPU for each sweep, in processes of its own
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="each of two engines needs a core"),
]


@pytest.fixture
def sweeps(tmp_path: Path, server: SweepServer, recordings: Path) -> ScriptedSweeps:
    (tmp_path / "two.toml").write_text(TWO)
    (tmp_path / "mix.toml").write_text(MIX)
    return ScriptedSweeps(tmp_path, server, recordings)


def folders(sweeps: ScriptedSweeps, level: int) -> dict[str, str]:
    """Return the status of each recording of the point at this level."""
    place = sweeps.out / "points" / sweeps.rows[level]["folder"]
    return {path.name: load(path).status for path in sorted(place.iterdir())}


def test_two_engines_make_one_row_with_the_recording_of_each(sweeps: ScriptedSweeps) -> None:
    assert sweeps.run("two.toml", "--out", "out").returncode == 0
    assert sweeps.statuses() == {2: "complete", 4: "complete"}
    assert folders(sweeps, 4) == {"replica-1": "complete", "replica-2": "complete"}
    row = sweeps.rows[4]
    assert row["output_tokens"] == sum(one["output_tokens"] for one in row["replicas"])
    assert len({process for _, process in sweeps.begun}) == 2  # each engine is started once for both points


def test_they_are_told_the_same_moment(sweeps: ScriptedSweeps) -> None:
    sweeps.run("two.toml", "--out", "out")
    told = [json.loads((sweeps.folder / f"start-replica-{number}").read_text()) for number in (1, 2)]
    assert told[0] == told[1]
    assert told[0]["wall_ns"] > 0


def test_each_kind_of_a_mix_has_its_own_workload(sweeps: ScriptedSweeps) -> None:
    assert sweeps.run("mix.toml", "--out", "out").returncode == 0
    assert sorted(sweeps.levels) == [2, 4, 8, 8]
    (cluster, _) = (point.cluster for point in load_sweep(sweeps.out).clusters)
    assert cluster is not None
    assert cluster.kinds == [[0], [1]]


@pytest.mark.parametrize(
    ("when", "action", "reason"),
    [
        ("replica-2", "fail", "engine 2 of 2: out of memory in the middle of the point"),
        ("replica-1", "die", "engine 1 of 2: the engine's process ended by signal SIGKILL"),
        ("ready-replica-2", "fail", "engine 2 of 2: out of memory"),
        ("ready-replica-1", "refuse", "engine 1 of 2: it cannot be asked"),
    ],
)
def test_one_that_fails_fails_the_point_and_resume_repeats_it(
    sweeps: ScriptedSweeps, when: str, action: str, reason: str
) -> None:
    sweeps.script(**{when: action})
    assert sweeps.run("two.toml", "--out", "out", "--set", "axes.workload.concurrency=[4]").returncode != 0
    assert sweeps.statuses() == {4: "failed"}
    assert reason in sweeps.rows[4]["reason"]
    sweeps.script()
    assert sweeps.run("--resume", "out").returncode == 0
    assert sweeps.statuses() == {4: "complete"}
    assert folders(sweeps, 4) == {"replica-1": "complete", "replica-2": "complete"}


def test_what_the_other_recorded_is_kept(sweeps: ScriptedSweeps) -> None:
    sweeps.script(**{"replica-2": "fail-last"})
    sweeps.run("two.toml", "--out", "out", "--set", "axes.workload.concurrency=[4]")
    assert folders(sweeps, 4) == {"replica-1": "complete"}
    sweeps.script()
    sweeps.run("--resume", "out")
    place = sweeps.out / "points" / f"{sweeps.rows[4]['folder']}.cut-1"
    assert load(place / "replica-1").status == "complete"


def test_the_next_point_is_measured_after_a_failure(sweeps: ScriptedSweeps) -> None:
    sweeps.script(c2="fail")
    assert sweeps.run("two.toml", "--out", "out").returncode == 1
    assert sweeps.statuses() == {2: "failed", 4: "complete"}


def test_ctrl_c_ends_all_engines(sweeps: ScriptedSweeps) -> None:
    sweeps.script(**{"replica-1": "hang", "replica-2": "hang"})
    sweeps.begin("two.toml", "--out", "out")
    wait_until(lambda: (sweeps.folder / "start-replica-1").exists() and (sweeps.folder / "start-replica-2").exists())
    sweeps.interrupt()
    assert sweeps.end().returncode == INTERRUPTED
    assert not any(Path(f"/proc/{process}").exists() for _, process in sweeps.begun)


def test_an_engine_that_does_not_start_fails_the_points(sweeps: ScriptedSweeps) -> None:
    sweeps.script(start="fail")
    assert sweeps.run("two.toml", "--out", "out").returncode != 0
    assert sweeps.statuses() == {2: "failed", 4: "failed"}
