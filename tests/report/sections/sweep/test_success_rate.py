"""The success rate in the tables and charts of a sweep in which requests failed; nothing where none did."""

import json
from pathlib import Path

import pytest

from engine_probe.evaluation.published.figures import FIGURES
from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import Swept, open_sweep
from engine_probe.report.charts.sweep import sweep_charts
from engine_probe.report.sections.sweep.levels import level_tables
from engine_probe.report.sections.sweep.verdict import sweep_verdict
from tests.support.recordings.run_folders import facts, ran, write_run
from tests.support.recordings.small_tables import table


def sweep(folder: Path, failing: dict[int, int]) -> Swept:
    """Levels of so many requests, of which the first so many were aborted past their deadline."""
    points = []
    for level, failed in failing.items():
        outcomes = ["deadline"] * failed + ["answered"] * (level - failed)
        rows = [{"request_id": f"r{n}", "prompt_id": f"{n}", "outcome": each} for n, each in enumerate(outcomes)]
        write_run(folder / f"points/p{level}", ran(level) | {"answers": table("answers", rows)}, facts())
        points.append({"id": f"p{level}", "point": {"concurrency": level}, "status": "complete"})
    (folder / "sweep.json").write_text(json.dumps({"sweep": {"question": "What fails?"}, "points": points}))
    return open_sweep(folder)


def test_each_level_shows_its_success_rate_once_a_request_failed(tmp_path: Path) -> None:
    swept = sweep(tmp_path, {1: 0, 5: 4, 8: 2})
    found = curves(swept.points)
    (levels,) = level_tables(found)
    place = [column.name for column in levels.columns].index("success rate")
    assert [(row[place].text, row[place].tone) for row in levels.rows] == [
        ("100.0%", "plain"),
        ("20.0%", "problem"),
        ("75.0%", "problem"),
    ]
    (chart,) = (each for each in sweep_charts(swept, found) if each.title == "Success rate")
    assert chart.series[0].values == [100.0, 20.0, 75.0]
    failed = FIGURES["failed_share"].measured
    assert [failed(found[0], swept.runs[0], load) for load in (1, 5, 8)] == pytest.approx([0, 0.8, 0.25])


def test_failures_come_first_in_the_verdict(tmp_path: Path) -> None:
    swept = sweep(tmp_path, {1: 0, 5: 4, 8: 2})
    first = sweep_verdict(swept, curves(swept.points), tuple).sentences[0]
    assert first.tone == "problem"
    assert first.text == (
        "Requests fail: 80.0% at 5, 25.0% at 8 concurrent requests. Throughput counts their tokens, too."
    )


def test_no_failure_needs_no_words(tmp_path: Path) -> None:
    swept = sweep(tmp_path, {1: 0, 5: 0})
    found = curves(swept.points)
    (levels,) = level_tables(found)
    assert "success rate" not in [column.name for column in levels.columns]
    assert "Success rate" not in [chart.title for chart in sweep_charts(swept, found)]
    assert not [each for each in sweep_verdict(swept, found, tuple).sentences if "fail" in each.text]
