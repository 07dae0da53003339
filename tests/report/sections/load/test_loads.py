"""Loads in other words: bursts as makespans, requests in flight as users by the answer times measured there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import Swept, load_sweep
from engine_probe.report.document import Section
from engine_probe.report.sections.load.makespan import burst_charts, burst_section
from engine_probe.report.sections.load.users import users_section
from tests.support.recordings.run_folders import write_sweep

LOADS = (1, 2, 4)


def swept(folder: Path, workload: dict[str, Any]) -> Swept:
    """A sweep of bursts, whose recordings and points are given this workload."""
    write_sweep(folder, LOADS)
    asked = json.loads((folder / "sweep.json").read_text())
    for row in asked["points"]:
        load = row["point"]["concurrency"]
        if users := workload.get("arrivals"):
            row["point"]["arrivals"] = {**users, "users": row["point"].pop("concurrency")}
        told = folder / "points" / f"p{load}" / "run.json"
        told.write_text(json.dumps({**json.loads(told.read_text()), "workload": workload}))
    (folder / "sweep.json").write_text(json.dumps(asked))
    return load_sweep(folder)


def rows(section: Section) -> list[list[str]]:
    (found,) = section.tables
    return [[cell if isinstance(cell, str) else cell.text for cell in row] for row in found.rows]


def answers(found: Swept) -> list[float]:
    """The mean answer time at each load, in seconds."""
    means = [point.analysis.summary.e2el.mean_ms for point in found.points if point.analysis]
    return [mean / 1e3 for mean in means if mean is not None]


def test_a_burst_has_its_makespan_and_a_speed_up_against_one_after_another(tmp_path: Path) -> None:
    found = swept(tmp_path, {})
    spans = [point.analysis.summary.makespan_seconds or 0 for point in found.points if point.analysis]
    table = rows(burst_section(curves(found.points)))
    assert [row[0] for row in table] == ["1", "2", "4"]
    assert [float(row[3]) for row in table] == pytest.approx(
        [load * spans[0] / span for load, span in zip(LOADS, spans, strict=True)], abs=0.005
    )


def test_the_chart_has_the_makespans_and_the_same_requests_one_after_another(tmp_path: Path) -> None:
    found = swept(tmp_path, {})
    (chart,) = burst_charts(curves(found.points))
    together, alone = (series.values for series in chart.series)
    assert together == [point.analysis.summary.makespan_seconds for point in found.points if point.analysis]
    assert alone == [load * (together[0] or 0) for load in LOADS]


def test_without_a_single_request_there_is_no_speed_up(tmp_path: Path) -> None:
    found = load_sweep(write_sweep(tmp_path, (2, 4)))
    assert burst_section(curves(found.points)) == Section()


def test_requests_in_flight_are_those_of_more_users_the_longer_they_pause(tmp_path: Path) -> None:
    found = swept(tmp_path, {"prompts": {"kind": "dataset"}})
    table = rows(users_section(found, curves(found.points)))
    for row, load, answer in zip(table, LOADS, answers(found), strict=True):
        assert row[0] == f"{load:g}"
        users = [float(cell.replace(",", "")) for cell in row[2:]]
        assert users == pytest.approx([load * pace / answer for pace in (10, 40, 120)], abs=0.5)


def test_users_are_so_many_requests_in_flight(tmp_path: Path) -> None:
    found = swept(tmp_path, {"arrivals": {"kind": "closed_loop", "pace_seconds": 2.0}})
    table = rows(users_section(found, curves(found.points)))
    for row, load, answer in zip(table, LOADS, answers(found), strict=True):
        assert row[2] == f"{answer / 2:.0%}"
        assert float(row[3]) == pytest.approx(load * answer / 2, abs=0.05)


def test_random_tokens_stand_for_nobody(tmp_path: Path) -> None:
    found = swept(tmp_path, {"input_len": 48})
    assert users_section(found, curves(found.points)) == Section()
