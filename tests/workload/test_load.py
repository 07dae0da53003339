"""Loads have their own unit in a point's label and in a dry run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.dry_run import size_cells
from engine_probe.workload.arrivals import Arrivals, Burst, ClosedLoop, OpenLoop, Ramp

RATES = """
question = "?"
[engine]
model = "tiny"
[workload]
input_len = 8
output_len = 8
num_prompts = 500
arrivals = { kind = "open_loop", request_rate = 20.0 }
"""


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ([], ["20 requests/s"]),
        (["axes.workload.arrivals.request_rate=[5, 20.5]"], ["5 requests/s", "20.5 requests/s"]),
        (["workload.concurrency=[4, 8]"], ["max concurrency 4", "max concurrency 8"]),
        (['workload.arrivals={"kind": "closed_loop", "users": 50}'], ["50 users"]),
        (['workload.arrivals={"kind": "ramp", "start_rate": 1, "end_rate": 9}'], ["500 requests"]),
        (['workload.arrivals={"kind": "burst"}'], ["concurrency 500"]),
    ],
)
def test_a_point_is_called_by_what_it_pushes_the_engine_with(
    tmp_path: Path, settings: list[str], labels: list[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(RATES)
    assert [point.label for point in points(read_sweep(str(file), settings))] == labels


def test_a_rate_that_no_report_could_draw_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(RATES.replace("20.0", "inf"))
    with pytest.raises(InputError, match="request_rate is inf: give a finite number"):
        points(read_sweep(str(file)))
    assert math.isinf(OpenLoop(math.inf).request_rate)


@pytest.mark.parametrize(
    ("arrivals", "in_flight"),
    [
        (None, 500),
        (Burst(), 500),
        (ClosedLoop(50), 50),
        (ClosedLoop(50, pace_seconds=40.0), None),
        (OpenLoop(20.0), None),
        (Ramp(1.0, 9.0), None),
    ],
)
def test_the_pool_is_not_filled_with_requests_of_which_nobody_knows_how_many_there_are(
    arrivals: Arrivals | None, in_flight: int | None
) -> None:
    point = Point(EngineSection("tiny"), WorkloadSection(8, 8, num_prompts=500, arrivals=arrivals))
    assert point.workload.in_flight == in_flight
    assert size_cells(point, [], None, None)[-2] == ("-" if in_flight is None else f"{16 * in_flight:,}")
