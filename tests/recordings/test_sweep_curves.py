"""A sweep's curves are those that it wrote; of a sweep file from before they are derived from all its points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine_probe.errors import InputError
from engine_probe.recordings.sweep import load_sweep
from tests.support.recordings.run_folders import write_sweep


def with_curves(sweep: Path, *curves: Any) -> Path:
    path = sweep / "sweep.json"
    document = json.loads(path.read_text())
    for row, curve in zip(document["points"], curves, strict=True):
        row["point"]["curve"] = curve
    path.write_text(json.dumps(document))
    return sweep


def test_the_curve_of_a_point_is_what_the_sweep_wrote(tmp_path: Path) -> None:
    """One point is here so far, of a sweep that varies a setting: nothing in it says so but its curve."""
    swept = load_sweep(with_curves(write_sweep(tmp_path / "sweep", (1,)), {"max_num_seqs": 4}))
    assert list(swept.curves) == ["max_num_seqs 4"]
    assert swept.points[0].name == "concurrency 1, max_num_seqs 4"
    assert "curve" not in swept.settings[0]


def test_a_sweep_file_from_before_has_the_curves_of_its_settings(tmp_path: Path) -> None:
    swept = load_sweep(write_sweep(tmp_path / "sweep", (1, 2)))
    assert list(swept.curves) == [""]
    assert [point.curve for point in swept.points] == [{}, {}]


@pytest.mark.parametrize("curve", [None, 1, "max_num_seqs 4", [4]])
def test_a_curve_that_is_no_table_of_settings_is_refused(tmp_path: Path, curve: Any) -> None:
    with pytest.raises(InputError, match=r"sweep.json is not what a sweep writes \(ValueError: curve is "):
        load_sweep(with_curves(write_sweep(tmp_path / "sweep", (1, 2)), {}, curve))
