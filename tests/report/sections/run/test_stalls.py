"""The section on stalls: a verdict, a chart and a table for a run with stalled steps, and one sentence for others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.commands.report import command
from engine_probe.errors import InputError
from engine_probe.recordings.run import Run, load
from engine_probe.report.charts.model import Lines
from engine_probe.report.document import Section, cell_words
from engine_probe.report.run_report import run_document
from tests.support.recordings.run_folders import write_run
from tests.support.recordings.small_tables import table
from tests.support.recordings.stalled_run import MS, decoding, stalled_run
from tests.support.values import has_values, values


def section_of(run: Run) -> Section:
    (found,) = [section for section in run_document(run, run.analysis()).sections if section.title == "Stalls"]
    return found


def test_the_verdict_comes_first(tmp_path: Path) -> None:
    verdict, *soft = section_of(stalled_run(tmp_path / "run")).sentences
    assert verdict.tone == "caution"
    assert has_values(verdict.text, "2", "100", "400")
    assert values(verdict.text.partition("garbage collection")[2])[:2] == ["1", "300"]
    assert values(verdict.text.partition("unknown")[2])[:2] == ["1", "100"]
    assert "telemetry was off" in soft[0].text


def test_a_row_for_each_stall_the_longest_first(tmp_path: Path) -> None:
    (shown,) = section_of(stalled_run(tmp_path / "run")).tables
    assert [[cell_words(cell) for cell in row] for row in shown.rows] == [
        ["50", "0.500 s", "310 ms", "10.0 ms", "garbage collection", "280 ms", "Generation 2"],
        ["60", "0.900 s", "110 ms", "10.0 ms", "unknown", "-", "Most of it in execute"],
    ]


def test_the_chart_has_a_series_for_each_cause(tmp_path: Path) -> None:
    (chart,) = section_of(stalled_run(tmp_path / "run")).charts()
    assert isinstance(chart, Lines)
    assert chart.xs == [0.5, 0.9]
    assert {line.label: line.values for line in chart.series} == {
        "garbage collection": [310, None],
        "unknown": [None, 110],
        "expected": [10, 10],
    }


def test_a_run_without_stalls_says_so(tmp_path: Path) -> None:
    quiet = section_of(load(write_run(tmp_path / "run", {"iterations": decoding()})))
    assert [(sentence.text, sentence.tone) for sentence in quiet.sentences] == [("None of 100 steps stalled.", "plain")]
    assert not quiet.tables
    assert not list(quiet.charts())


def test_an_older_recording_says_what_could_not_be_seen(tmp_path: Path) -> None:
    run = load(write_run(tmp_path / "run", {"iterations": decoding({50: 310})}))
    assert run.stalls["cause"].to_pylist() == ["unknown"]
    assert "older than the table host_events" in section_of(run).sentences[1].text


def test_a_worker_on_the_cores_own_thread_is_never_late(tmp_path: Path) -> None:
    """Its rank has the process id of the core: what delays it is looked for elsewhere."""
    iterations = decoding({50: 310})
    rows = [
        {"iteration": index, "rank": 0, "start_ns": begun + (290 if index == 50 else 1) * MS, "execute_ns": 5 * MS}
        for index, begun in enumerate(iterations["start_ns"].to_pylist())
    ]
    folder = write_run(tmp_path / "run", {"iterations": iterations, "workers": table("workers", rows)})
    assert load(folder).stalls["cause"].to_pylist() == ["late worker"]
    facts = json.loads((folder / "run.json").read_text())
    facts["workers"]["ranks"][0]["pid"] = facts["process"]["pid"]
    (folder / "run.json").write_text(json.dumps(facts))
    assert load(folder).stalls["cause"].to_pylist() == ["unknown"]


def test_few_steps_are_not_judged(tmp_path: Path) -> None:
    (sentence,) = section_of(load(write_run(tmp_path / "run", {"iterations": decoding(count=5)}))).sentences
    assert "No step could be judged" in sentence.text


def test_a_run_without_a_step_has_no_stalls(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no iteration"):
        _ = load(write_run(tmp_path / "run", {})).stalls


def test_json_has_every_stall(tmp_path: Path) -> None:
    folder = stalled_run(tmp_path / "run").folder
    done = CliRunner().invoke(command, [str(folder), "--json", "-"])
    stalls = json.loads(done.stdout)["stalls"]
    assert (stalls["steps_judged"], stalls["steps_not_judged"], stalls["excess_ns"]) == (100, 0, 400 * MS)
    first = stalls["steps"][0]
    assert (first["iteration"], first["cause"], first["expected_ns"]) == (50, "garbage collection", 10 * MS)


def test_a_terminal_shows_the_verdict_without_being_asked(tmp_path: Path) -> None:
    folder = stalled_run(tmp_path / "run").folder
    shown = " ".join(CliRunner().invoke(command, [str(folder)]).stdout.split())
    assert "2 of 100 steps stalled" in shown
