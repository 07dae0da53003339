"""A sweep on a real Ray cluster of two machines, of which one dies: every point is measured all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe import load
from engine_probe.record.run_folder import WALL_CLOCK_AHEAD
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile, points
from engine_probe.sweep.engine_process.messages import Began, StartStep
from engine_probe.sweep.execution.events import Event, Moved, Placed
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.fleet.resources import EngineShare, RayNode
from engine_probe.sweep.fleet.runner import Fleet
from engine_probe.sweep.results.point_results import PointResult

pytestmark = pytest.mark.slow  # two nodes of Ray, and an engine on each

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
STORE_BYTES = 80 << 20
SWEEP = """
question = "Does it run elsewhere?"
[engine]
model = "tiny"
[engine.arguments]
block_size = 32
num_gpu_blocks_override = 25
max_model_len = 256
enable_prefix_caching = false
enforce_eager = true
[workload]
input_len = 32
output_len = 120
hold = false
[axes]
"engine.arguments.max_num_seqs" = [2, 4]
"workload.concurrency" = [16, 2]
"""


class Machines:
    """A cluster on this machine: each of its nodes has a raylet of its own to lose."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES})
        self.nodes: list[Any] = []
        self.fill()

    def add(self, **resources: int) -> Any:
        return self.cluster.add_node(object_store_memory=STORE_BYTES, **resources)

    def fill(self) -> None:
        """Two machines with a core each, whatever was lost."""
        while len(self.nodes) < 2:
            self.nodes.append(self.add(num_cpus=1))

    def lose(self, process: int) -> None:
        """The machine that runs this process dies without a word, and the process soon after."""
        raylet = parent(process)
        (node,) = [node for node in self.nodes if node.all_processes["raylet"][0].process.pid == raylet]
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)
        while alive(process):  # or it might still tell what it measured
            time.sleep(0.05)


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def engines(machines: Machines) -> list[int]:
    """The engines' processes: what the workers of each raylet have started."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in machines.nodes]
    started = [child for raylet in raylets for worker in children(raylet) for child in children(worker)]
    return [process for process in started if b"engine_probe.sweep" in words(process)]


def words(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):  # a thread's children are its own
        with suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def environment(process: int) -> list[str]:
    """Read the environment of a process that has just been started; Linux shows an empty one while it is executed."""
    while not (content := Path(f"/proc/{process}/environ").read_text()):
        time.sleep(0.01)
    return content.split("\0")


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    found = Machines()
    yield found
    found.cluster.shutdown()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFile:
    path = tmp_path_factory.mktemp("sweep") / "fleet.toml"
    path.write_text(SWEEP)
    return read_sweep(str(path))


@pytest.fixture(scope="module")
def story(machines: Machines, sweep: SweepFile, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The sweep with the loss of the first machine on which a point begins: its folder, and events with groups."""
    from engine_probe.sweep.fleet.ray_cluster import connected

    folder = tmp_path_factory.mktemp("out")
    events: list[tuple[Event, int | None]] = []
    lost: list[int] = []

    def listen(event: Event, group: int | None) -> None:
        events.append((event, group))
        if isinstance(event, Began) and not lost:
            lost.append(place_of(group, events))
            machines.lose(lost[0])

    with connected(machines.cluster.address) as cluster:
        SweepRun(sweep, folder, points(sweep), listen, Fleet(cluster), force=False).run()
    return folder, events


def place_of(group: int | None, events: list[Any]) -> int:
    """Return the process that is the parent of this group's engine."""
    return next(event.process for event, of in reversed(events) if of == group and isinstance(event, Placed))


def test_every_point_is_measured_whole(story: tuple[Path, list[Any]], sweep: SweepFile) -> None:
    folder, _ = story
    rows = json.loads((folder / "sweep.json").read_text())["points"]
    asked = points(sweep)
    assert [(row["id"], row["status"]) for row in rows] == [(point.key, "complete") for point in asked]
    assert [row["output_tokens"] for row in rows] == [point.workload.output_tokens for point in asked]
    assert [row["point"] for row in rows] == [json.loads(msgspec.json.encode(point)) for point in asked]


def test_what_was_lost_is_told_and_measured_again(story: tuple[Path, list[Any]]) -> None:
    folder, events = story
    (moved,) = [event for event, _ in events if isinstance(event, Moved)]
    begun = [event.number for event, _ in events if isinstance(event, Began)]
    assert begun.count(moved.number) == 2
    assert [begun.count(number) for number in {0, 1, 2, 3} - {moved.number}] == [1, 1, 1]
    assert json.loads((folder / "sweep.json").read_text())["moved"] == [msgspec.to_builtins(moved)]


def test_every_recording_is_whole_and_here(story: tuple[Path, list[Any]]) -> None:
    folder, events = story
    rows = [event for event, _ in events if isinstance(event, PointResult)]
    assert sorted(path.name for path in (folder / "points").iterdir()) == sorted(row.folder for row in rows)
    for row in rows:
        run = load(folder / "points" / row.folder)
        assert run.status == "complete"
        assert sum(run.iterations["output_tokens"].to_pylist()) == row.output_tokens
    assert "vLLM" in (folder / "engine.log").read_text()


def test_after_the_death_of_an_engine_and_of_an_actor_the_sweep_goes_on(
    machines: Machines, sweep: SweepFile, tmp_path: Path
) -> None:
    """The engine of the first point that begins is killed, as if memory had run out, and the actor of the second."""
    from engine_probe.sweep.fleet.ray_cluster import connected

    machines.fill()
    events: list[tuple[Event, int | None]] = []
    killed: list[int] = []  # points

    def listen(event: Event, group: int | None) -> None:
        events.append((event, group))
        if isinstance(event, Began) and len(killed) < 2 and event.number not in killed:
            actor = place_of(group, events)
            (engine,) = [child for child in children(actor) if b"engine_probe" in words(child)]
            os.kill(actor if killed else engine, signal.SIGKILL)
            killed.append(event.number)

    with connected(machines.cluster.address) as cluster:
        SweepRun(sweep, tmp_path, points(sweep), listen, Fleet(cluster), force=False).run()
    rows = json.loads((tmp_path / "sweep.json").read_text())["points"]
    assert [row["id"] for row in rows] == [point.key for point in points(sweep)]
    assert [number for number, row in enumerate(rows) if row["status"] != "complete"] == killed[:1]
    assert "SIGKILL" in rows[killed[0]]["reason"]
    assert [event.number for event, _ in events if isinstance(event, Moved)] == killed[1:]
    begun = [event.number for event, _ in events if isinstance(event, Began)]
    assert sorted(begun) == sorted([0, 1, 2, 3, killed[1]])
    for row in rows:
        assert row["status"] == "failed" or load(tmp_path / "points" / row["folder"]).status == "complete"


def test_after_the_death_of_the_driver_its_engines_end_and_resume_goes_on(
    machines: Machines, sweep: SweepFile, tmp_path: Path
) -> None:
    machines.fill()
    path, out = tmp_path / "fleet.toml", tmp_path / "out"
    path.write_text(SWEEP)
    command = [sys.executable, "-m", "engine_probe", "sweep", "--ray", machines.cluster.address]
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen([*command, str(path), "--out", str(out)], stdout=log, stderr=log)
        try:
            while not (finished := complete_rows(out)):
                assert driver.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
            assert engines(machines)
        finally:
            driver.kill()
            driver.wait()
    while engines(machines):  # the test's own limit ends this
        time.sleep(0.1)
    before = [written(out, name) for name in finished.values()]
    subprocess.run([*command, "--resume", str(out)], check=True, stdout=subprocess.DEVNULL)
    assert complete_rows(out).keys() == {point.key for point in points(sweep)}
    assert [written(out, name) for name in finished.values()] == before


def written(folder: Path, name: str) -> tuple[int, int]:
    found = (folder / "points" / name / "run.json").stat()
    return found.st_ino, found.st_mtime_ns


def complete_rows(folder: Path) -> dict[str, str]:
    """Return the folder of each complete point by its id."""
    file = folder / "sweep.json"
    rows = json.loads(file.read_text())["points"] if file.exists() else []
    return {row["id"]: row["folder"] for row in rows if row["status"] == "complete"}


def test_two_machines_measure_a_point_together(machines: Machines, sweep: SweepFile, tmp_path: Path) -> None:
    from engine_probe.sweep.fleet.ray_cluster import connected

    machines.fill()
    both = msgspec.structs.replace(sweep, axes={"workload.concurrency": [16]}, replicas=2)
    with connected(machines.cluster.address) as cluster:
        SweepRun(both, tmp_path, points(both), lambda event, group: None, Fleet(cluster), force=False).run()
    (row,) = json.loads((tmp_path / "sweep.json").read_text())["points"]
    assert row["status"] == "complete", row["reason"]
    assert row["output_tokens"] == sum(replica["output_tokens"] for replica in row["replicas"])
    runs = [load(tmp_path / "points" / row["folder"] / replica["folder"]) for replica in row["replicas"]]
    assert all(run.facts[WALL_CLOCK_AHEAD]["error_ns"] >= 0 for run in runs)
    begins, ends = ([run.facts["outcome"][end] for run in runs] for end in ("started_ns", "ended_ns"))
    assert max(begins) < min(ends)
    assert len({run.facts["process"]["pid"] for run in runs}) == 2


def test_what_ray_gives_an_engine_reaches_it(machines: Machines, sweep: SweepFile, tmp_path: Path) -> None:
    """Two engines on one machine with two cards: each sees its own. The cards are Ray's word alone here."""
    from engine_probe.sweep.fleet.ray_cluster import connected

    machines.add(num_cpus=2, num_gpus=2)
    with connected(machines.cluster.address) as cluster:
        events: list[tuple[Event, int | None]] = []
        seen: dict[int, str] = {}

        def listen(event: Event, group: int | None) -> None:
            events.append((event, group))
            if isinstance(event, StartStep) and event.text.startswith("starting"):
                (engine,) = children(place_of(group, events))
                seen[engine] = next(line for line in environment(engine) if line.startswith("CUDA_VISIBLE_"))
            if len(seen) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            SweepRun(sweep, tmp_path, points(sweep), listen, Fleet(cluster), force=False).run()
        assert sorted(event.gpus for event, _ in events if isinstance(event, Placed)) == [("0",), ("1",)]
        assert sorted(seen.values()) == ["CUDA_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES=1"]
        for engine in seen:
            assert not Path(f"/proc/{engine}").exists()  # leaving early ends the engines, on every machine


def test_the_machines_are_what_ray_says(machines: Machines) -> None:
    from engine_probe.sweep.fleet.ray_cluster import connected

    with connected(machines.cluster.address) as cluster:
        nodes = cluster.nodes()
        assert all(isinstance(node, RayNode) for node in nodes)
        assert {node.cpus for node in nodes if not node.gpus} == {0, 1}
        cluster.check_installed([node for node in nodes if EngineShare(1, 0).fits(node)], force=False)
