"""A fleet without Ray: posts in this process that can be lost at any moment, with stand-ins for their engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.engine.start_phases import Starting
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile, points
from engine_probe.sweep.engine_process import process as engine_lifetime
from engine_probe.sweep.engine_process.messages import Began
from engine_probe.sweep.execution.events import Event, GroupEnded, Moved, Placed
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.fleet.fleet_engine import MOST_PLACES
from engine_probe.sweep.fleet.remote_engine import RemoteEngine
from engine_probe.sweep.fleet.resources import EngineShare, RayNode
from engine_probe.sweep.fleet.runner import Fleet
from engine_probe.sweep.fleet.transfers import carried
from engine_probe.sweep.results.point_results import Unmeasured
from tests.support.processes.waiting import wait_until
from tests.support.sweeps.sweep_events import sweep_events

# Begins every task, leaves a file in its folder, and refuses it: rows without vLLM.
ENGINE = """
import json, os, pathlib, sys
pipe = int(sys.argv[-1])
def tell(**what): os.write(pipe, json.dumps(what).encode() + b"\\n")
sys.stdin.readline()
tell(type="StartStep", text=f"starting {os.getpid()}")
print("noise", flush=True)
for number, line in enumerate(iter(sys.stdin.readline, "")):
    task = json.loads(line)
    tell(type="Began", number=number)
    folder = pathlib.Path(task["folder"])
    folder.mkdir(parents=True)
    (folder / "rows").write_bytes(b"x" * 20)
    if task["together"]:
        tell(type="Ready", number=number)
        (folder / "start").write_text(sys.stdin.readline())
    BETWEEN
    tell(type="Refused", number=number, sentence="no figures")
"""


HOUR_NS = 3600 * 10**9


class GoneError(Exception):
    """What a stand-in cluster raises where Ray would say that a machine died."""


class StandIn:
    """Asks a post in this process, call after call in a thread of its own, until its machine is lost."""

    def __init__(self, cluster: Machines, node: str, engine: RemoteEngine) -> None:
        self._cluster, self._node, self._engine = cluster, node, engine
        self._thread = ThreadPoolExecutor(1)

    def __getattr__(self, name: str) -> Callable[..., Future[Any]]:
        if name == "where" and not self._node:
            return Future  # nobody ever answers
        return lambda *given: self._thread.submit(self._call, name, given)

    def _call(self, name: str, given: tuple[Any, ...]) -> Any:
        self._cluster.asked.append(name)
        if self._cluster.loses(name):
            self._cluster.gone.append(self._node)
        if self._node in self._cluster.gone:
            self._engine.close()
            raise GoneError("the lights went out")
        if name == "wall_clock":
            return time.time_ns() + self._cluster.ahead_ns.get(self._node, 0)
        answer = getattr(self._engine, name)(*given)
        return msgspec.structs.replace(answer, node=self._node) if name == "where" else answer

    def kill(self) -> None:
        self._cluster.asked.append("kill")
        self._thread.submit(self._engine.close)
        self._thread.shutdown()


class Machines:
    """Five of them, or as many as are left; `loses` says at which call one is."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gone: list[str] = []
        self.taken: set[str] = set()
        self.avoided: list[frozenset[str]] = []
        self.ahead_ns: dict[str, int] = {}
        self.loses: Callable[[str], bool] = lambda name: False
        self.all = [RayNode(name, name, 1, 0) for name in "abcde"]

    def nodes(self) -> list[RayNode]:
        return [node for node in self.all if node.id not in self.gone]

    def start_worker(self, claim: EngineShare, avoid: frozenset[str], *engine: Any) -> StandIn:
        self.avoided.append(avoid)
        place = next((node.id for node in self.nodes() if node.id not in avoid | self.taken), "")
        self.taken.add(place)
        return StandIn(self, place, RemoteEngine(*engine))

    def lost(self, error: BaseException) -> str | None:
        return str(error) if isinstance(error, GoneError) else None


@pytest.fixture
def machines() -> Machines:
    return Machines()


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFile:
    file = tmp_path / "two.toml"
    file.write_text(
        'question = "?"\n[engine]\nmodel = "tiny"\n[workload]\ninput_len = 8\noutput_len = 8\n[axes]\n'
        '"engine.arguments.max_num_seqs" = [1, 2]\n"workload.concurrency" = [1, 2]\n'
    )
    return read_sweep(str(file))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    real = subprocess.Popen

    def plant(between: str = "pass") -> None:
        def popen(command: list[str], **how: Any) -> subprocess.Popen[bytes]:
            return real([sys.executable, "-c", ENGINE.replace("BETWEEN", between), *command[1:]], **how)

        monkeypatch.setattr(engine_lifetime.subprocess, "Popen", popen)

    modules = (
        "execution.engine_run",
        "fleet.fleet_engine",
        "fleet.machine_cluster",
        "fleet.runner",
        "replicas.replica_set",
    )
    for module in (*modules, "fleet.placing_order"):
        monkeypatch.setattr(f"engine_probe.sweep.{module}.TICK_SECONDS", 0.05)
    plant()
    return plant


def one_engine(sweep: SweepFile) -> SweepFile:
    return msgspec.structs.replace(sweep, axes={"workload.concurrency": [1, 2]})


def events(sweep: SweepFile, out: Path, machines: Machines, **how: Any) -> list[Any]:
    return sweep_events(sweep, out, engines=Fleet(machines, **how))


def of(kind: type, told: list[Any]) -> list[Any]:
    return [event for event in told if isinstance(event, kind)]


def nth(name: str, number: int) -> Callable[[str], bool]:
    """Loses the machine at the n-th call of this name."""
    count = 0

    def loses(asked: str) -> bool:
        nonlocal count
        count += asked == name
        return asked == name and count == number

    return loses


def test_every_group_has_a_machine_and_every_point_a_row(
    sweep: SweepFile, out: Path, machines: Machines, engine: object
) -> None:
    told = events(sweep, out, machines)
    rows = of(Unmeasured, told)
    assert sorted(row.id for row in rows) == sorted(point.key for point in points(sweep))
    assert {row.reason for row in rows} == {"no figures"}
    assert len(of(Placed, told)) == 2
    assert [row["id"] for row in json.loads((out / "sweep.json").read_text())["points"]] == [
        point.key for point in points(sweep)
    ]


def test_a_points_folder_and_the_log_come_home(sweep: SweepFile, out: Path, machines: Machines, engine: object) -> None:
    events(sweep, out, machines)
    assert {path.name: (path / "rows").read_bytes() for path in (out / "points").iterdir()} == {
        f"max_num_seqs={seqs},concurrency={load}": b"x" * 20 for seqs in (1, 2) for load in (1, 2)
    }
    assert [path.read_text() for path in sorted(out.glob("*.log"))] == ["noise\n", "noise\n"]


def test_large_files_come_in_pieces(
    sweep: SweepFile, out: Path, machines: Machines, engine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine_probe.sweep.fleet.remote_engine.PIECE_BYTES", 8)
    events(sweep, out, machines)
    assert machines.asked.count("read") == 4 * 3
    assert {(path / "rows").read_bytes() for path in (out / "points").iterdir()} == {b"x" * 20}


@pytest.mark.parametrize("call", ["where", "next", "read"])
def test_whenever_a_machine_is_lost_its_point_is_measured_on_another(
    sweep: SweepFile, out: Path, machines: Machines, engine: object, call: str
) -> None:
    machines.loses = nth(call, 3 if call == "next" else 1)
    told = events(sweep, out, machines)
    (moved,) = of(Moved, told)
    assert moved.reason == "the lights went out"
    assert sorted(row.id for row in of(Unmeasured, told)) == sorted(point.key for point in points(sweep))
    assert {(path / "rows").read_bytes() for path in (out / "points").iterdir()} == {b"x" * 20}
    assert not list(out.glob("points/.*"))  # nothing half arrived
    assert json.loads((out / "sweep.json").read_text())["moved"] == [msgspec.to_builtins(moved)]


@pytest.mark.parametrize("point", [1, 2])
def test_a_machine_that_is_lost_when_a_points_files_are_here_loses_nothing_of_it(
    sweep: SweepFile, out: Path, machines: Machines, engine: object, point: int
) -> None:
    """What is left of the engine's points moves to another machine."""
    machines.loses = nth("forget", point)
    told = events(one_engine(sweep), out, machines)
    assert [event.number for event in of(Began, told)] == [0, 1]
    assert [event.number for event in of(Moved, told)] == ([1] if point == 1 else [])
    assert [row.reason for row in of(Unmeasured, told)] == ["no figures"] * 2
    assert {path.name: (path / "rows").read_bytes() for path in (out / "points").iterdir()} == {
        f"concurrency={load}": b"x" * 20 for load in (1, 2)
    }


def test_a_lost_machine_is_avoided_even_before_the_cluster_misses_it(
    sweep: SweepFile, out: Path, machines: Machines, engine: object
) -> None:
    machines.loses = nth("read", 1)
    events(sweep, out, machines)
    assert machines.avoided == [frozenset(), frozenset(), frozenset(machines.gone)]
    assert len(machines.gone) == 1


def test_a_point_that_loses_every_machine_is_a_row_in_the_end(
    sweep: SweepFile, out: Path, machines: Machines, engine: object
) -> None:
    machines.loses = lambda name: name == "read" and len(machines.gone) < MOST_PLACES
    told = events(one_engine(sweep), out, machines)
    first, second = of(Unmeasured, told)
    assert [event.number for event in of(Moved, told)] == [0] * (MOST_PLACES - 1)
    assert first.reason == "lost with its machine 3 times, at last on vm: the lights went out".replace(
        "vm", os.uname()[1]
    )
    assert second.reason == "no figures"


def test_when_no_machine_is_left_that_is_a_row_too(
    sweep: SweepFile, out: Path, machines: Machines, engine: object
) -> None:
    machines.all = machines.all[:1]
    machines.loses = nth("read", 1)
    told = events(one_engine(sweep), out, machines, patience_seconds=0.2)
    assert [row.reason for row in of(Unmeasured, told)] == ["no machine of the fleet has 1 CPU any longer"] * 2


def test_an_engine_that_dies_by_itself_is_a_row_and_the_next_point_gets_a_new_one(
    sweep: SweepFile, out: Path, machines: Machines, engine: Callable[[str], None]
) -> None:
    engine("sys.exit(5)")
    told = events(sweep, out, machines)
    reasons = {row.reason for row in of(Unmeasured, told)}
    assert len(of(Unmeasured, told)) == 4
    assert not of(Moved, told)
    assert all(reason.startswith("the engine's process ended with exit code 5") for reason in reasons)
    logs = {reason.rpartition("; see ")[2] for reason in reasons}  # as they are called at home
    assert logs == {str(path) for path in out.glob("*.log")}
    assert len(logs) == 4


@pytest.mark.parametrize("dying", ["1", "2", "3", "1 2", "2 3", "1 2 3 4"])
def test_after_an_engine_s_death_every_other_point_is_measured_once(
    sweep: SweepFile, out: Path, machines: Machines, engine: Callable[[str], None], tmp_path: Path, dying: str
) -> None:
    """Four points on one engine; its process dies within the points with these turns, not twice the same way."""
    turns = tmp_path / "turns"
    turns.touch()
    engine(
        f"turns = open({str(turns)!r}, 'r+'); turn = len(turns.read()) + 1; turns.write('x'); turns.close()\n"
        f"    if str(turn) in {dying.split()!r}: os.kill(os.getpid(), 9 if turn % 2 else 11)"
    )
    told = events(msgspec.structs.replace(sweep, axes={"workload.concurrency": [1, 2, 3, 4]}), out, machines)
    assert [event.number for event in of(Began, told)] == [0, 1, 2, 3]
    rows = of(Unmeasured, told)
    assert [row.point.workload.concurrency for row in rows] == [1, 2, 3, 4]
    died = [str(turn) for turn, row in enumerate(rows, 1) if row.reason != "no figures"]
    assert died == dying.split()
    assert not of(Moved, told)


def test_an_engine_that_never_begins_is_started_once(
    sweep: SweepFile, out: Path, machines: Machines, engine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "ENGINE", "import sys; sys.exit(7)")
    told = events(sweep, out, machines)
    assert len(of(Unmeasured, told)) == 4
    assert len(list(out.glob("*.log"))) == 2


def test_an_engine_that_hangs_at_its_start_is_given_up(
    sweep: SweepFile, out: Path, machines: Machines, engine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "ENGINE", "import time; time.sleep(60)")
    told = events(msgspec.structs.replace(sweep, start_seconds=0.3), out, machines)
    reasons = {row.reason for row in of(Unmeasured, told)}
    assert {reason.partition(";")[0] for reason in reasons} == {
        "given up after 0.3 s without a first point (start_seconds)"
    }
    assert {reason.rpartition(" in ")[2] for reason in reasons} == {str(path) for path in out.glob("*.log")}
    assert len(of(Unmeasured, told)) == 4


def test_a_place_that_nobody_gave_leaves_no_log(
    sweep: SweepFile, out: Path, machines: Machines, engine: object
) -> None:
    """The first machine is lost at once, so that it is avoided: the engine asks for a place again."""
    machines.loses = nth("where", 1)
    events(one_engine(sweep), out, machines)
    assert [path.name for path in out.glob("*.log")] == ["engine.log"]


def test_leaving_early_ends_every_engine_and_keeps_what_it_recorded(
    sweep: SweepFile, out: Path, machines: Machines, engine: Callable[[str], None]
) -> None:
    engine("import time; time.sleep(60)")
    processes: set[int] = set()
    begun = 0

    def interrupt(event: Event, group: int | None) -> None:
        nonlocal begun
        if isinstance(event, Starting) and event.phase.name.startswith("starting"):
            processes.add(int(event.phase.name.split()[1]))
        begun += isinstance(event, Began)
        if begun == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        SweepRun(sweep, out, points(sweep), interrupt, Fleet(machines), force=False).run()
    assert len(processes) == 2
    for process in processes:
        wait_until(lambda process=process: not Path(f"/proc/{process}").exists(), 60)
    assert json.loads((out / "sweep.json").read_text())["points"] == []


def test_a_second_ctrl_c_does_not_wait_for_the_engines(
    sweep: SweepFile, out: Path, machines: Machines, engine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine_probe.sweep.fleet.machine_cluster.LAST_ANSWER_SECONDS", 600)
    engine("import time; time.sleep(60)")
    goes_on = threading.Event()

    def interrupt(event: Event, group: int | None) -> None:
        if isinstance(event, Began):
            signal.raise_signal(signal.SIGINT)

    def interrupt_again(name: str) -> bool:
        if name == "stop":
            signal.raise_signal(signal.SIGINT)
            goes_on.wait()
        return False

    machines.loses = interrupt_again
    with pytest.raises(KeyboardInterrupt):
        SweepRun(one_engine(sweep), out, points(one_engine(sweep)), interrupt, Fleet(machines), force=False).run()
    assert not {"close", "kill"} & {*machines.asked}
    goes_on.set()
    wait_until(lambda: "kill" in machines.asked, 120)  # in a daemon thread: a command would have ended


def test_what_the_user_sets_for_vllm_is_carried_and_what_is_a_machines_own_is_not() -> None:
    here = {"VLLM_USE_X": "1", "VLLM_HOST_IP": "10.0.0.1", "OMP_NUM_THREADS": "2", "HOME": "/me", "NCCL_DEBUG": "INFO"}
    assert carried(here) == {"VLLM_USE_X": "1", "OMP_NUM_THREADS": "2", "NCCL_DEBUG": "INFO"}


def together(sweep: SweepFile, replicas: int) -> SweepFile:
    return msgspec.structs.replace(sweep, axes={"workload.concurrency": [1]}, replicas=replicas)


@pytest.mark.lengthy
def test_engines_that_measure_together_have_a_machine_each_and_one_start_by_its_clock(
    sweep: SweepFile, out: Path, machines: Machines, engine: Callable[[str], None]
) -> None:
    engine("import time; time.sleep(2)")  # until all have heard of the start
    machines.ahead_ns["b"] = HOUR_NS
    (row,) = of(Unmeasured, events(together(sweep, 3), out, machines))
    assert row.reason.endswith("of 3: no figures")
    assert len(machines.taken - {""}) == 3
    (point,) = points(together(sweep, 3))
    place = PointFolders(out).of(point)
    told = sorted(json.loads((place / f"replica-{number}/start").read_text())["wall_ns"] for number in (1, 2, 3))
    assert [round((start - told[0]) / HOUR_NS) for start in told] == [0, 0, 1]


def test_a_machine_that_is_lost_fails_the_point_of_all_engines(
    sweep: SweepFile, out: Path, machines: Machines, engine: Callable[[str], None]
) -> None:
    engine("import time; time.sleep(600)")
    machines.loses = nth("next", 12)
    told = events(together(sweep, 2), out, machines)
    (row,) = of(Unmeasured, told)
    assert "lost with its machine" in row.reason
    assert not of(Moved, told)
    assert len(machines.gone) == 1


def test_points_of_several_engines_do_not_run_side_by_side(
    sweep: SweepFile, out: Path, machines: Machines, engine: object
) -> None:
    two_groups = {"engine.arguments.max_num_seqs": [1, 2], "workload.concurrency": [1]}
    told = events(msgspec.structs.replace(sweep, axes=two_groups, replicas=2), out, machines)
    first_end = next(at for at, event in enumerate(told) if isinstance(event, GroupEnded))
    assert len(of(Placed, told[:first_end])) == len(of(Placed, told[first_end:])) == 2
