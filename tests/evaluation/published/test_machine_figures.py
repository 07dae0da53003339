"""Figures of a machine beside published ones: memory, temperature and power of a GPU, and loading the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine_probe.evaluation.published.figures import FIGURES
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import load_sweep
from tests.support.recordings.run_folders import facts, ran, write_run
from tests.support.recordings.small_tables import table

GIB = 1 << 30
PHASES = {"phases": [{"name": "loading weights", "seconds": 2.0}, {"name": "preparing the weights", "seconds": 0.5}]}


def sample(device: int, temperature: int, watts: int) -> dict[str, Any]:
    return {"device": device, "temperature_c": temperature, "power_mw": 1000 * watts}


PARTS = ("kv_pool", "activations", "graphs", "other", "free", "used", "nvml_used", "rss")


def rank(number: int, device: str, weights: float, reserved: float) -> dict[str, Any]:
    known = {
        "total_bytes": 48 * GIB,
        "weights_bytes": int(weights * GIB),
        "reserved_bytes": int(reserved * GIB),
    }
    unknown = {f"{part}_bytes": None for part in PARTS}
    told = {"sources": dict.fromkeys(known, "a test"), "missing": dict.fromkeys(unknown, "a test")}
    return {"rank": number, "device": device, "name": "a card", **known, **unknown, **told}


def measured(folder: Path, more: dict[str, Any], samples: tuple[list[dict[str, Any]], ...]) -> tuple[Curve, list[Run]]:
    """A sweep of two runs, with these facts and telemetry."""
    rows = []
    for number, telemetry in enumerate(samples):
        tables = ran(1 + number) | {"telemetry": table("telemetry", telemetry)}
        write_run(folder / "points" / f"p{number}", tables, facts() | more)
        rows.append({"id": f"p{number}", "status": "complete", "point": {"concurrency": 1 + number, "num_prompts": 1}})
    (folder / "sweep.json").write_text(json.dumps({"sweep": {"question": "?"}, "points": rows}))
    swept = load_sweep(folder)
    (curve,) = curves(swept.points)
    return curve, swept.runs


def test_temperature_and_power_are_those_of_the_first_gpu_over_all_runs(tmp_path: Path) -> None:
    samples = [sample(0, 60, 200), sample(1, 90, 999)], [sample(0, 68, 300), sample(0, 64, 340)]
    curve, runs = measured(tmp_path, {}, samples)
    assert FIGURES["temperature_max_c"].measured(curve, runs, None) == 68
    assert FIGURES["power_mean_w"].measured(curve, runs, None) == pytest.approx(280)


def test_memory_is_that_of_the_first_gpu_over_its_ranks(tmp_path: Path) -> None:
    memory = [rank(0, "GPU-1", 10, 20), rank(1, "GPU-1", 5, 4), rank(2, "GPU-2", 30, 40)]
    curve, runs = measured(tmp_path, {"memory": memory}, ([], []))
    assert FIGURES["weights_gib_of_gpu"].measured(curve, runs, None) == pytest.approx(15)
    assert FIGURES["reserved_gib_of_gpu"].measured(curve, runs, None) == pytest.approx(24)
    assert FIGURES["reserved_share"].measured(curve, runs, None) == pytest.approx(0.5)
    assert FIGURES["gpu_memory_gib"].measured(curve, runs, None) == pytest.approx(48)


def test_loading_is_the_time_of_the_phases_in_which_weights_are_loaded(tmp_path: Path) -> None:
    curve, runs = measured(tmp_path, {"start_phases": PHASES | {"seconds": 9.0}}, ([], []))
    assert FIGURES["loading_s"].measured(curve, runs, None) == 2.5


@pytest.mark.parametrize(
    "name", ["temperature_max_c", "power_mean_w", "weights_gib_of_gpu", "reserved_share", "gpu_memory_gib", "loading_s"]
)
@pytest.mark.parametrize("more", [{}, {"memory": [rank(0, "cpu", 1, 2)]}])
def test_without_a_gpu_or_a_start_there_is_none(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    curve, runs = measured(tmp_path, more, ([], []))
    assert FIGURES[name].measured(curve, runs, None) is None
