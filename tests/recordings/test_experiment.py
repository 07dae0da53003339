"""Several sweeps opened as one: how curves are named, what is told of sweeps that are not alike, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine_probe
from engine_probe.errors import InputError
from engine_probe.recordings.experiment import load_experiment
from tests.support.recordings.run_folders import write_sweep

LEVELS = (1, 4, 8)


def write(folder: Path, **named: Any) -> Path:
    return write_sweep(folder, named.pop("levels", LEVELS), **named)


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change what the sweep asked of each point."""
    file = folder / "sweep.json"
    document = json.loads(file.read_text())
    for row in document["points"]:
        change(row["point"])
    file.write_text(json.dumps(document))
    return folder


def changed_facts(folder: Path, **facts: Any) -> Path:
    for file in (folder / "points").glob("*/run.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    return folder


def labels(*folders: Path) -> list[str]:
    return [curve.label for curve in load_experiment(*folders).curves]


@pytest.mark.lengthy
def test_sweeps_of_different_models_are_named_by_the_model(tmp_path: Path) -> None:
    small = write(tmp_path / "first", name="/models/small", blocks=90)
    large = write(tmp_path / "second", name="org/large", blocks=30)
    assert labels(small, large) == ["model small", "model org/large"]


@pytest.mark.lengthy
def test_sweeps_of_one_model_are_named_by_the_ranks(tmp_path: Path) -> None:
    folders = []
    for ranks in (1, 2):
        sizes = {"tensor_parallel_size": ranks, "pipeline_parallel_size": 1}
        folder = write(tmp_path / f"ranks{ranks}")
        file = json.loads((folder / "points" / "p1" / "run.json").read_text())
        folders.append(changed_facts(folder, engine=file["engine"] | {"arguments": {"parallel_config": sizes}}))
    assert labels(*folders) == ["tensor_parallel_size 1", "tensor_parallel_size 2"]


@pytest.mark.lengthy
def test_curves_of_equal_settings_stay_apart_under_the_names_of_their_sweeps(tmp_path: Path) -> None:
    """They were measured on two occasions, so that their points are no repeats of each other."""
    experiment = load_experiment(write(tmp_path / "monday"), write(tmp_path / "friday"))
    assert [curve.label for curve in experiment.curves] == ["sweep monday", "sweep friday"]
    assert [len(curve.figures) for curve in experiment.curves] == [len(LEVELS)] * 2
    assert not experiment.differences


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path: Path) -> None:
    assert list(load_experiment(write(tmp_path / "a" / "kv"), write(tmp_path / "b" / "kv")).sweeps) == ["a/kv", "b/kv"]


@pytest.mark.lengthy
def test_its_table_has_every_point_with_its_sweep_and_model(tmp_path: Path) -> None:
    experiment = engine_probe.load_experiment(write(tmp_path / "a", name="small"), write(tmp_path / "b", name="large"))
    frame = experiment.to_pandas()
    assert frame["sweep"].tolist() == ["a"] * len(LEVELS) + ["b"] * len(LEVELS)
    assert frame["point"].tolist()[0] == "a/p1"
    assert frame["output_tokens_per_s"].notna().all()


def test_another_workload_is_told_with_the_values(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    changed(second, lambda asked: asked.update(output_len=80))
    (sentence,) = load_experiment(first, second).differences
    assert "output_len 40 in a, 80 in b" in sentence


def test_other_loads_seeds_and_models_are_no_other_workload(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", levels=(2, 6), name="large")
    changed(second, lambda asked: asked.update(seed=7, model="large"))
    assert not load_experiment(first, second).differences


@pytest.mark.lengthy
def test_other_hardware_and_another_vllm_are_told(tmp_path: Path) -> None:
    folders = []
    for name, version in (("L4", "0.31.0"), ("L40S", "0.32.0")):
        found = {"host": {"name": "a processor"}, "gpus": [{"name": f"NVIDIA {name}"}]}
        versions = {"vllm": version, "distribution": "vllm"}
        folders.append(changed_facts(write(tmp_path / name), hardware=found, versions=versions))
    hardware, vllm = load_experiment(*folders).differences
    assert "NVIDIA L4 in L4, NVIDIA L40S in L40S" in hardware
    assert "0.31.0 in L4, 0.32.0 in L40S" in vllm
    assert labels(*folders) == ["hardware NVIDIA L4", "hardware NVIDIA L40S"]


def test_loads_that_are_counted_differently_are_refused(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    changed(second, lambda asked: asked.update(arrivals={"kind": "poisson", "request_rate": 2.0}))
    with pytest.raises(InputError, match=r"a in concurrent requests; b in requests/s"):
        load_experiment(first, second)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    sweep = write(tmp_path / "a")
    with pytest.raises(InputError, match=r"p4 is no sweep"):
        load_experiment(sweep, sweep / "points" / "p4")


def test_a_sweep_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    sweep = write(tmp_path / "a")
    (tmp_path / "link").symlink_to(sweep)
    with pytest.raises(InputError, match="the same sweep"):
        load_experiment(sweep, tmp_path / "link")


def test_nothing_is_no_experiment() -> None:
    with pytest.raises(InputError, match="at least one"):
        load_experiment()
