"""The live view, drawn onto a console without a terminal."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from engine_probe import load
from engine_probe.analysis.run.live_latencies import Medians
from engine_probe.recordings.live_reader import LiveReader, Moment
from engine_probe.report.renderers.live import LiveView, sparkline
from tests.support.recordings.run_folders import ran, write_run
from tests.support.values import has_values


def drawn(view: LiveView, width: int = 80) -> str:
    console = Console(width=width, legacy_windows=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def moment(tokens: int, seconds: float, **more: Any) -> Moment:
    values = {"running": 4, "waiting": 2, "kv_share": 0.5, "preemptions": 0} | more
    return Moment(output_tokens=tokens, seconds=seconds, **values)


def test_a_sparkline_is_scaled_to_its_highest_value() -> None:
    assert sparkline([0.0, 4.0, 8.0]) == "▁▅█"
    assert sparkline([0.0, 0.0]) == ""


def test_before_the_first_row_it_shows_the_phase() -> None:
    view = LiveView("tiny", 100)
    view.say("starting vLLM on tiny")
    assert "starting vLLM on tiny" in drawn(view)


def test_a_start_has_a_line_for_each_phase_and_its_bars_are_parts_of_the_whole() -> None:
    view = LiveView("tiny", 100)
    view.say("starting vLLM on tiny")
    view.start([("importing vLLM", 10.0), ("loading weights", 10.0), ("compiling", 20.0)])
    _, head, *phases, _ = drawn(view).splitlines()
    assert head.split() == ["│", "starting", "vLLM", "on", "tiny", "0:40", "│"]
    assert [line.count("━") for line in phases] == [13, 13, 26]
    assert "compiling        20 s" in phases[2]
    view.start([("loading weights", 3.0)], share=0.5)
    assert "loading weights 50%" in drawn(view)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_nothing_wraps_at_any_width(width: int) -> None:
    view = LiveView("smollm2 · 32 requests · 32 in flight · 128 + 128 tokens", 4096)
    for second in range(300):
        view.add(moment(10 * second, second, preemptions=7, answered=Medians(1234, 14.7e6, 5.45e6), step_ns=5.5e6))
    lines = drawn(view, width).splitlines()
    assert len(lines) == 7
    assert {len(line) for line in lines} == {width}
    assert "32 in flight · 128 + 128 tokens" in lines[0]
    assert has_values(lines[5], "14.7", "5.45", "50", "1,234", "5.50")
    assert lines[3].count("█") == width - 4 - 9 - 2 - 2 - 16  # as many rates as there is room for


def test_it_shows_what_runs_and_the_rate_since_the_moment_before() -> None:
    view = LiveView("tiny", 100)
    view.add(moment(10, 1.0))
    view.add(moment(40, 2.0, preemptions=3))
    text = drawn(view)
    assert "40% of 100" in text
    assert "30/s" in text
    assert "running 4   waiting 2   preempted 3" in text
    assert "TTFT -  TPOT -  none answered yet   step -" in text
    assert "50%" in text


def test_the_last_moment_has_the_figures_of_the_summary(tmp_path: Path) -> None:
    """Batch after batch is appended, as the probe's writer does it; the last moment holds the summary's figures."""
    run = load(write_run(tmp_path / "whole", ran(12, blocks=24)))
    growing = tmp_path / "growing"
    growing.mkdir()
    shutil.copy(tmp_path / "whole" / "run.json", growing)
    tables = {"iterations": run.iterations, "requests": run.requests}
    streams = {name: pa.ipc.new_stream(growing / f"{name}.arrows", table.schema) for name, table in tables.items()}
    watch, moments = LiveReader(growing), []
    for begin in range(0, run.iterations.num_rows, 7):
        streams["iterations"].write_table(run.iterations.slice(begin, 7))
        streams["requests"].write_table(run.requests.slice(len(moments), 1))
        moments.append(watch.progress())
    last = moments[-1]
    assert [moment.answered.requests for moment in moments] == [min(n, 12) for n in range(1, len(moments) + 1)]
    whole = run.summary()
    medians = (whole.ttft.percentiles_ns[50], whole.tpot.percentiles_ns[50])
    assert (last.answered.ttft_ns, last.answered.tpot_ns) == medians
    assert last.output_tokens == 12 * 40
    assert last.preemptions > 0
    steps = run.iterations.slice(run.iterations.num_rows - (run.iterations.num_rows % 7 or 7))
    spent = sum(sum(steps[f"{part}_ns"].to_pylist()) for part in ("schedule", "execute", "update"))
    assert last.step_ns == spent / steps.num_rows
