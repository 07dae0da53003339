"""What a sweep shows: on a terminal nothing wraps at any width; elsewhere a line for each thing that happens."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from engine_probe.analysis.run.live_latencies import Medians
from engine_probe.engine.start_phases import Phase, Started, Starting
from engine_probe.recordings.live_reader import Moment
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.engine_process.messages import Began, StartStep
from engine_probe.sweep.execution.events import Placed
from engine_probe.sweep.progress import screens as module
from engine_probe.sweep.progress.fleet_screens import FleetTerminal
from engine_probe.sweep.progress.progress_lines import print_line
from engine_probe.sweep.progress.screens import PlainScreen, TerminalScreen
from engine_probe.sweep.results.point_results import Unmeasured
from tests.support.values import values

WIDTHS = (60, 80, 120, 200)
TODO = [Point(EngineSection("tiny"), WorkloadSection(32, 64, users), label=f"{users} users") for users in (1, 2, 4)]
IMPORTED = Phase("importing vLLM", 9.2)
NOW = Moment(1000, 12, 3, 0.93, 7, 5.0, Medians(12, 14.7e6, 5.45e6))
STORY: list[Any] = [
    StartStep("starting vLLM on tiny"),
    Starting(Phase("importing vLLM", 4.0)),
    Starting(Phase("loading weights", 0.2), 0.5, (IMPORTED,)),
    Starting(Phase("compiling", 12.0), None, (IMPORTED, Phase("loading weights", 0.3))),
    Started((IMPORTED, Phase("loading weights", 0.3), Phase("compiling", 34.4)), 43.9),
    Began(0),
    NOW,
    Unmeasured(TODO[0].key, TODO[0], "failed", "no figures"),
]


def drawn(width: int, story: list[Any]) -> list[str]:
    """The picture after the story, without what was printed above it."""
    screen = TerminalScreen(TODO, Console(file=io.StringIO(), width=width, highlight=False))
    for event in story:
        screen.show(event)
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(screen.picture())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("events", range(len(STORY) + 1))
def test_the_picture_always_has_five_lines(width: int, events: int) -> None:
    lines = drawn(width, STORY[:events])
    assert len(lines) == 5
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_a_bar_is_as_wide_as_the_terminal(width: int) -> None:
    full = Moment(TODO[0].workload.output_tokens, 1, 0, 0.5, 0, 5.0)
    assert drawn(width, [Began(0), full])[3] == "━" * width


class Interrupted(io.StringIO):
    """A stream whose second write is interrupted, as by a Ctrl-C that arrives after the first."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise KeyboardInterrupt
        return super().write(text)


def test_a_line_and_its_end_cannot_be_separated_by_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Interrupted()
    monkeypatch.setattr("sys.stderr", stream)
    print_line("starting vLLM on tiny")
    assert stream.getvalue() == "starting vLLM on tiny\n"


def test_a_start_shows_the_phase_and_those_before_it() -> None:
    assert drawn(80, STORY[:3])[2].startswith("loading weights 50%, 0 s ")
    assert drawn(80, STORY[:4])[2].startswith("compiling 12 s ")
    assert drawn(80, STORY[:4])[4] == "importing vLLM 9 s"  # weights of 0.3 s are not worth a word


def test_a_narrow_terminal_leaves_out_the_last_figures_whole() -> None:
    whole = "200.0 tokens/s · TTFT 14.7 ms · TPOT 5.45 ms (p50 of 12) · 12 running · 3 waiting · KV 93% · 7 preempted"
    assert drawn(120, STORY[:7])[4] == whole
    for width in (60, 80):
        line = drawn(width, STORY[:7])[4]
        assert whole.startswith(f"{line} · ")


def test_until_the_first_answer_the_duration_of_a_step_stands_in_for_its_latencies() -> None:
    early = Moment(40, 4, 0, 0.1, 0, 0.5, step_ns=12.3e6)
    assert values(drawn(80, [Began(0), early])[4]) == ["80.0", "12.3", "4", "0", "10%"]


def test_before_the_first_step_it_says_what_goes_on() -> None:
    assert drawn(80, STORY[:6])[4] == "warming up"


def test_what_is_kept_above_the_picture() -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    screen = TerminalScreen(TODO, console)
    for event in STORY:
        screen.show(event)
    assert console.file.getvalue().splitlines() == [
        "engine started in 44 s · compiling 34 s · importing vLLM 9 s",
        "  ✗ 1 users: no figures",
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_fleet_has_a_line_for_each_engine_at_any_width(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    screen = FleetTerminal(TODO, console)
    for number, host in enumerate(["node-a", "node-b"]):
        for event in [Placed(host, ("0", "1")), *STORY[: 4 if number else 7]]:
            screen.show(event, number)
    console.print(screen.picture())
    summary, running, starting, rest = console.file.getvalue().splitlines()
    assert summary == "0 of 3 points, 2 engines running"
    assert "1 users · 200.0 tokens/s" in running
    assert "compiling 12 s" in starting
    assert not rest.strip()


def test_a_pipe_gets_a_line_for_each_phase_that_has_ended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = PlainScreen(TODO)
    for event in STORY[:4]:
        screen.show(event)
    with monkeypatch.context() as soon:
        soon.setattr(module, "PLAIN_SECONDS", 0)
        screen.show(STORY[3])
    for event in STORY[4:6]:
        screen.show(event)
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0)
    screen.show(NOW)
    *started, point, now = capsys.readouterr().err.splitlines()
    assert [values(line) for line in started] == [[], ["9"], ["12"], ["44"]]
    assert values(point) == ["1", "3", "1"]
    assert values(now) == ["0", "1", "200.0", "14.7", "5.45", "50", "12", "12", "3", "93%", "7"]


def test_a_suite_says_in_the_first_line_which_of_its_sweeps_this_is() -> None:
    console = Console(file=io.StringIO(), width=60, highlight=False)
    screen = TerminalScreen(TODO, console, heading="sweep 2 of 9: tensor_parallel, 6.3 One GPU and two; 1 complete")
    with console.capture() as shown:
        console.print(screen.picture())
    lines = shown.get().splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("sweep 2 of 9: tensor_parallel, 6.3 One GPU and two;")
