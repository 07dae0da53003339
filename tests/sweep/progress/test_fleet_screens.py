"""Engines side by side: a person sees who runs where, what was lost, and how long all will take."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from rich.console import Console

from engine_probe.engine.start_phases import Phase, Starting
from engine_probe.recordings.live_reader import Moment
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.engine_process.messages import Began, StartStep
from engine_probe.sweep.execution.events import GroupEnded, LogText, Moved, Placed
from engine_probe.sweep.progress.fleet_screens import FleetPlain, FleetState, FleetTerminal
from engine_probe.sweep.results.point_results import Unmeasured
from tests.support.values import has_values, values

TODO = [
    Point(EngineSection("tiny"), WorkloadSection(32, 64, level), label=f"concurrency {level}") for level in (1, 2, 4)
]
LOST = Moved(0, "concurrency 1", "node-a", "no answer any longer")
STORY: list[Any] = [
    (0, StartStep("waiting for a machine with 2 GPUs")),
    (0, Placed("node-a", ("0", "1"))),
    (0, StartStep("starting vLLM on tiny")),
    (0, Starting(Phase("importing vLLM", 9.0))),
    (0, Starting(Phase("loading weights", 0.1), 0.5, (Phase("importing vLLM", 9.2),))),
    (1, StartStep("waiting for a machine with 1 GPU")),
    (1, Placed("node-b", ("3",))),
    (1, Began(1)),
    (1, Moment(50, 2, 1, 0.5, 3, 2.0)),
    (0, LOST),
]


def row(number: int) -> Unmeasured:
    return Unmeasured(TODO[number].key, TODO[number], "failed", "no figures")


def test_a_terminal_has_a_line_for_every_running_engine() -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    screen = FleetTerminal(TODO, console=console)
    for group, event in STORY:
        screen.show(event, group)
    console.print(screen.picture())
    told, summary, engine, rest = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert told == "  ↻ node-a: no answer any longer; concurrency 1 is measured again on another machine"
    assert summary == "0 of 3 points, 1 engine running"
    assert engine.startswith("  node-b GPU 3 ")
    assert has_values(engine, "2", "25.0", "2", "1", "50%")
    assert engine.endswith("KV 50%")  # what does not fit is left out
    assert rest == "  1 waiting for another machine"


class WatchedHost(str):
    """A host; the first time that it is looked at, another thread shows that a second engine has a machine."""

    def watch(self, screen: FleetTerminal) -> WatchedHost:
        self.thread = threading.Thread(target=screen.show, args=(Placed("node-b"), 1))
        return self

    def __bool__(self) -> bool:
        if self.thread.ident is None:
            self.thread.start()
            self.thread.join(0.2)  # it ends in this time unless it has to wait
        return True


def test_an_engine_that_gets_a_machine_while_the_picture_is_drawn_is_in_the_next_picture() -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    screen = FleetTerminal(TODO, console=console)
    screen.show(Placed("node-a"), 0)
    host = screen._fleet.groups[0].host = WatchedHost("node-a").watch(screen)
    pictures = [screen.picture()]
    host.thread.join()
    console.print(*pictures, screen.picture())
    summaries = [line.strip() for line in console.file.getvalue().splitlines() if "points" in line]
    assert summaries == ["0 of 3 points, 1 engine running", "0 of 3 points, 2 engines running"]


def test_a_point_that_was_skipped_has_not_failed() -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    screen = FleetTerminal(TODO, console=console)
    screen.show(Unmeasured(TODO[2].key, TODO[2], "skipped", "saturated at 2", exit_code=0), 0)
    screen.show(row(1), 0)
    assert console.file.getvalue().splitlines() == [
        "  · concurrency 4: saturated at 2",
        "  ✗ concurrency 2: no figures",
    ]


def test_elsewhere_every_line_names_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    screen = FleetPlain(TODO, verbose=False)
    for group, event in [*STORY, (1, LogText("noise\n")), (1, row(1))]:
        screen.show(event, group)
    assert capsys.readouterr().err.splitlines() == [
        "waiting for a machine with 2 GPUs",
        "[node-a GPU 0,1] starting vLLM on tiny",
        "[node-a GPU 0,1] importing vLLM 9 s",
        "waiting for a machine with 1 GPU",
        "[node-b GPU 3] point 2 of 3: concurrency 2",
        "node-a: no answer any longer; concurrency 1 is measured again on another machine",
        "[node-b GPU 3] concurrency 2: no figures",
        "1 of 3 points, 1 engine running, about 0 s left",
    ]


def test_what_vllm_says_is_shown_when_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    screen = FleetPlain(TODO, verbose=True)
    screen.show(Placed("node-a"), 0)
    screen.show(LogText("one\ntwo\n"), 0)
    assert capsys.readouterr().err.splitlines() == ["[node-a] one", "[node-a] two"]


def test_the_time_left_follows_from_what_was_measured() -> None:
    whole = FleetState(TODO)
    begun = whole._began
    assert whole.summary(begun + 60) == "0 of 3 points, 0 engines running"
    whole.update(row(0), None)  # measured before, so it took no time
    assert "left" not in whole.summary(begun + 60)
    whole.update(Placed("node-a"), 0)
    whole.update(row(1), 0)
    assert values(whole.summary(begun + 60)) == ["2", "3", "1", "60"]
    whole.update(GroupEnded(), 0)
    whole.update(row(2), None)
    assert whole.summary(begun + 60) == "3 of 3 points, 0 engines running"
