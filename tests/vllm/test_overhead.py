"""`engine_probe overhead` measures on the real scheduler; the figures themselves are nobody's to assert."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.commands.overhead import command
from engine_probe.errors import InputError
from engine_probe.overhead.probe import Cost, half_quartile_distance
from engine_probe.record.probe_calibration import Uncounted, read
from kernels_bench.devices.cpu import cpu
from tests.support.command import engine_probe


def cost(probe_ns: float, spread: float) -> Cost:
    return Cost(
        running=1,
        rounds=5,
        steps_per_block=10,
        step_ns=100.0,
        schedule_ns=50.0,
        probe_counted_ns=1.0,
        probe_ns=probe_ns,
        uncounted_ns=probe_ns - 1.0,
        uncounted_half_width_ns=spread,
        statistics_ns=30.0,
        details_ns=40.0,
        snapshot_ns=1.0,
        spread_ns={"probe": spread},
        disk_bytes=20.0,
        disk_iterations=100,
    )


def test_a_ratio_is_given_only_where_the_cost_is_told_from_noise() -> None:
    assert cost(probe_ns=4.0, spread=1.0).times_cheaper(40.0) == 10.0
    assert cost(probe_ns=1.0, spread=1.0).times_cheaper(40.0) is None
    assert cost(probe_ns=-3.0, spread=1.0).times_cheaper(40.0) is None
    assert cost(probe_ns=5.0, spread=1.0).share_of_schedule == 0.1


def test_one_round_has_no_spread() -> None:
    assert half_quartile_distance([3.0]) == math.inf
    assert half_quartile_distance([1.0, 2.0, 3.0]) == 0.5


def test_the_command_writes_every_figure_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "overhead.json"
    done = engine_probe("overhead", "--running", "2", "--rounds", "2", "--json", file)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(file.read_text())["costs"]
    assert row["running"] == 2
    assert min(row["step_ns"], row["schedule_ns"], row["probe_counted_ns"], row["disk_bytes"]) > 0
    assert row["disk_iterations"] > 1000
    kept = Uncounted(2, row["uncounted_ns"], row["uncounted_half_width_ns"])
    assert read(cpu().identity) == (kept,)
    assert kept.half_width_ns > 0
    assert "details" in done.stdout
    with pytest.raises(InputError, match="never overwritten"):
        CliRunner().invoke(command, ["--json", str(file)], catch_exceptions=False)
