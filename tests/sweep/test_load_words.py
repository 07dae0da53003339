"""A load is told in its own unit, in a point's label, in the sweep's table and in what is said of it."""

from __future__ import annotations

import math
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from engine_probe.errors import InputError
from engine_probe.sweep.dry_run import cells
from engine_probe.sweep.plan import EngineSection, Point, Workload, points
from engine_probe.sweep.read import read_sweep
from engine_probe.sweep.result import PointResult, curve, interpretation
from engine_probe.sweep.result_table import show_results
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
        (["workload.concurrency=[4, 8]"], ["at most 4 at once", "at most 8 at once"]),
        (['workload.arrivals={"kind": "closed_loop", "users": 50}'], ["50 users"]),
        (['workload.arrivals={"kind": "ramp", "start_rate": 1, "end_rate": 9}'], ["500 in all"]),
        (['workload.arrivals={"kind": "burst"}'], ["500 at once"]),
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
    point = Point(EngineSection("tiny"), Workload(8, 8, num_prompts=500, arrivals=arrivals))
    assert point.workload.in_flight == in_flight
    assert cells(point, [])[-2] == ("-" if in_flight is None else f"{16 * in_flight:,}")


def measured(work: Workload, rate: float, label: str) -> PointResult:
    point = Point(EngineSection("tiny"), work, label=label)
    return PointResult("id", point, "complete", 10, 1.0, int(rate), 100, 20, 3, 4.0, 2, 1, 0.9, 0.05)


def told(rows: list[PointResult]) -> str:
    console = Console(width=100, record=True, file=StringIO())
    show_results(list(rows), console)
    return console.export_text()


def test_a_curve_over_rates_or_users_is_one_table_in_their_unit() -> None:
    rates = [
        measured(Workload(8, 8, num_prompts=500, arrivals=OpenLoop(rate)), 100 * rate, f"{rate:g} requests/s")
        for rate in (5.0, 20.5)
    ]
    assert {curve(row.point) for row in rates} == {""}
    assert "The KV pool limits from 5 requests/s; preemption begins at 5, and at 5 requests/s 20%" in interpretation(
        rates
    )
    assert "throughput is highest at 20.5 (2050.0 tokens/s)" in interpretation(rates)
    text = told(rates)
    assert "requests" in text.splitlines()[0]
    assert "at once" not in text
    users = [measured(Workload(8, 8, 50, 500, arrivals=ClosedLoop(50)), 100, "50 users")]
    assert told(users).splitlines()[1].split()[0] == "users"


def test_points_that_differ_in_a_ceiling_are_no_repeats_of_one_another() -> None:
    capped = [
        measured(Workload(8, 8, most, 500, arrivals=OpenLoop(20.0)), 100, f"at most {most} at once") for most in (4, 8)
    ]
    assert "at most 4 at once" in told(capped)
    assert "at most 8 at once" in told(capped)
