"""Points that find no room are rows with their reason, and the others are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.engine.models.geometry import GIB
from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import Point, points
from engine_probe.sweep.execution.oversized_points import beyond_fleet, beyond_machine, check_any_left, told
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.fleet.resources import RayNode
from engine_probe.sweep.preflight.target import Target
from engine_probe.sweep.results.point_results import SKIPPED, Unmeasured
from engine_probe.sweep.suite.forecast import forecast
from tests.support.sweeps.no_engine import NoEngine

CARD = {"name": "a card", "uuid": "GPU-a", "memory_bytes": int(24 * GIB)}
MODELS = 'engine.model=["tiny", "falcon-40b"]'


def asked_models() -> list[Point]:
    return points(read_sweep("kv_pressure", [MODELS]))


def models(found: list[Point], reasons: dict[str, str]) -> set[str]:
    return {point.engine.model for point in found if point.key in reasons}


@pytest.mark.parametrize("gpus", [[], [CARD]])
def test_only_the_model_that_is_too_large_is_left_out(gpus: list[dict[str, Any]]) -> None:
    found = asked_models()
    reasons = beyond_machine(found, gpus, int(24 * GIB))
    assert models(found, reasons) == {"falcon-40b"}
    check_any_left(found, reasons)
    (line,) = told(found, reasons)
    assert line.startswith("left out: num_gpu_blocks_override 49, model falcon-40b and 4 more points: ")
    assert "76.9 GiB" in line


def test_a_sweep_of_which_nothing_finds_room_is_refused() -> None:
    large = [point for point in asked_models() if point.engine.model == "falcon-40b"]
    with pytest.raises(InputError, match=r"falcon-40b.*: the weights of falcon-40b take 76.9 GiB"):
        check_any_left(large, beyond_machine(large, [], int(24 * GIB)))


def test_on_a_fleet_what_no_machine_holds_is_left_out() -> None:
    found = points(read_sweep("kv_pressure", ["engine.arguments.tensor_parallel_size=[1, 4]"]))
    reasons = beyond_fleet(found, [RayNode("a", "a", 8.0, 2.0), RayNode("b", "b", 8.0, 2.0)])
    ranks = {point.engine.arguments["tensor_parallel_size"] for point in found if point.key in reasons}
    assert ranks == {4}


def test_they_are_rows_and_start_no_engine(tmp_path: Path) -> None:
    sweep = read_sweep("kv_pressure", [MODELS])
    large = [point for point in points(sweep) if point.engine.model == "falcon-40b"]
    seen: list[Any] = []
    engines: Any = NoEngine()
    reasons = beyond_machine(large, [], int(24 * GIB))
    SweepRun(sweep, tmp_path, large, lambda event, _: seen.append(event), engines, False, reasons).run()
    rows = [event for event in seen if isinstance(event, Unmeasured)]
    assert [row.status for row in rows] == [SKIPPED] * 5
    assert all("76.9 GiB" in row.reason for row in rows)
    assert msgspec.json.decode((tmp_path / "sweep.json").read_bytes())["points"][0]["status"] == SKIPPED


def test_a_suite_predicts_the_points_that_are_left() -> None:
    sweep = read_sweep("kv_pressure", [MODELS])
    hardware = {"gpus": [], "host": {"memory_bytes": int(24 * GIB)}}
    found = forecast(sweep, Target(None, hardware))
    assert not found.against
    assert any("left out" in line for line in found.missing)
    assert found.points == 10
