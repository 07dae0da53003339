"""The live view, drawn onto a console without a terminal."""

from __future__ import annotations

from rich.console import Console

from engine_probe.record.follow import Moment
from engine_probe.report.live import LiveView, sparkline


def drawn(view: LiveView) -> str:
    console = Console(width=80, record=True, file=None, quiet=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def moment(tokens: int, seconds: float, **more: float) -> Moment:
    values = {"running": 4, "waiting": 2, "kv_share": 0.5, "preemptions": 0} | more
    return Moment(output_tokens=tokens, seconds=seconds, **values)


def test_a_sparkline_is_as_tall_as_its_highest() -> None:
    assert sparkline([0.0, 4.0, 8.0]) == "▁▅█"
    assert sparkline([0.0, 0.0]) == ""


def test_before_the_first_row_it_says_what_goes_on() -> None:
    view = LiveView("tiny", 100)
    view.say("starting vLLM on tiny")
    assert "starting vLLM on tiny" in drawn(view)


def test_it_shows_what_runs_and_the_rate_since_the_moment_before() -> None:
    view = LiveView("tiny", 100)
    view.add(moment(10, 1.0))
    view.add(moment(40, 2.0, preemptions=3))
    text = drawn(view)
    assert "40% of 100" in text
    assert "30/s" in text
    assert "running 4   waiting 2   preempted 3" in text
    assert "50%" in text
