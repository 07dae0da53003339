"""The figures of a point that two engines measured, against a count from other tables of the same recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine_probe.analysis.run.token_times import token_times
from engine_probe.errors import InputError
from engine_probe.evaluation.comparison import compare
from engine_probe.recordings.cluster import Cluster, open_cluster
from engine_probe.recordings.run import load
from engine_probe.recordings.sweep import load_sweep
from tests.support.recordings.run_folders import ran, write_run
from tests.support.sweeps.cluster_sweeps import write_cluster_sweep

ASKED = {"replicas": 2, "workload": {"concurrency": 4, "input_len": 48, "output_len": 40}}


@pytest.fixture
def point(tmp_path: Path) -> Path:
    write_run(tmp_path / "replica-1", ran(4, later=12))
    write_run(tmp_path / "replica-2", ran(4, output=30, later=8))
    return tmp_path


def truth(cluster: Cluster) -> int:
    """Count tokens in the window by the times of every request's tokens, which the product does not use for the sum."""
    window, count = cluster.window, 0
    for engine in cluster.engines:
        times = token_times(engine.run.iterations, engine.run.requests)["time_ns"].to_numpy()
        count += int(np.count_nonzero((times > window.begin_ns) & (times <= window.end_ns)))
    return count


def test_the_sum_is_that_of_all_tokens_in_the_common_window(point: Path) -> None:
    cluster = open_cluster(point, ASKED)
    assert cluster.window.output_tokens == truth(cluster) > 0
    assert cluster.output_tokens_per_s == pytest.approx(sum(cluster.window.rates))
    assert cluster.window.share < 1


def test_latencies_are_of_all_requests_and_not_means_of_percentiles(point: Path) -> None:
    cluster = open_cluster(point, ASKED)
    both = np.concatenate(
        [
            (engine.run.requests["first_token_ns"].to_numpy() - engine.run.requests["arrival_ns"].to_numpy())
            for engine in cluster.engines
        ]
    )
    assert cluster.ttft.count == len(both) == 16 + 12
    assert cluster.ttft.percentiles_ns[50] == pytest.approx(np.percentile(both, 50))
    assert cluster.ttft.percentiles_ns[90] == pytest.approx(np.percentile(both, 90))


def test_its_row_in_a_table_has_the_figures_of_all_engines(tmp_path: Path) -> None:
    swept = load_sweep(write_cluster_sweep(tmp_path, {1: [1.0], 2: [1.0, 1.5]}))
    alone, both = swept.table.to_pylist()
    cluster = swept.points[1].cluster
    assert cluster is not None
    assert both["output_tokens_per_s"] == cluster.output_tokens_per_s > alone["output_tokens_per_s"]
    assert both["ttft_p50_ms"] == cluster.ttft.p50_ms
    assert both["replicas"] == 2


def test_points_of_several_engines_are_not_compared(tmp_path: Path) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        write_cluster_sweep(tmp_path / name, {1: [1.0], 2: [1.0, 1.0]})
    found = compare(tmp_path / "before", tmp_path / "after")
    assert any("was measured by 2 engines together" in sentence for sentence in found.unmeasured)


def test_each_engine_keeps_its_own_recording(point: Path) -> None:
    cluster = open_cluster(point, ASKED)
    assert [load(point / f"replica-{engine.number}").iterations.num_rows for engine in cluster.engines] == [
        engine.analysis.summary.iterations for engine in cluster.engines
    ]
    assert cluster.gpus is None


def on_another_machine(folder: Path, wall_ns: int, ahead_ns: int | None) -> None:
    """Say that a recording is of another host, whose monotonic clock showed 0 at this wall time."""
    told = json.loads((folder / "run.json").read_text())
    told["process"]["host"] = folder.name
    told["clock"] |= {"monotonic_ns": 0, "wall_ns": wall_ns}
    if ahead_ns is not None:
        told["wall_clock_ahead"] = {"ns": ahead_ns, "error_ns": 1000}
    (folder / "run.json").write_text(json.dumps(told))


@pytest.mark.parametrize("ahead_ns", [None, 7_000_000], ids=["clocks agree", "one is ahead"])
def test_recordings_of_two_machines_are_laid_on_one_clock(point: Path, ahead_ns: int | None) -> None:
    now, later = 10**18, 3_000_000
    on_another_machine(point / "replica-1", now, None)
    on_another_machine(point / "replica-2", now + later + (ahead_ns or 0), ahead_ns)
    cluster = open_cluster(point, ASKED)
    first, second = cluster.engines
    assert cluster.window.skew_ns == later
    assert cluster.window.begin_ns >= now + later
    ends = [one.run.iterations["start_ns"][-1].as_py() for one in (first, second)]
    assert cluster.window.end_ns <= min(now + ends[0], now + later + ends[1]) + 100_000_000


@pytest.mark.parametrize("told", ["soon", {"ns": "7"}, {"ns": 10**19, "error_ns": 0}, {"ns": 1}], ids=str)
def test_a_clock_that_says_nothing_is_taken_to_agree(point: Path, told: object) -> None:
    for number in (1, 2):
        on_another_machine(point / f"replica-{number}", 10**18, None)
    path = point / "replica-2" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_clock_ahead": told}))
    assert open_cluster(point, ASKED).window.skew_ns == 0


@pytest.mark.parametrize(
    "asked",
    [
        {"replicas": "many"},
        {"replicas": -2},
        {"replicas": 10**9},
        {"replicas": 2, "mix": [7]},
        {"replicas": 2, "mix": 7},
        {"mix": [{"replicas": 2.5}]},
        {"mix": [{"workload": {"concurrency": "x"}}]},
        {"mix": [{"workload": ["x"]}]},
    ],
    ids=str,
)
def test_settings_that_no_sweep_wrote_are_a_reason_and_no_crash(tmp_path: Path, asked: dict[str, object]) -> None:
    folder = write_cluster_sweep(tmp_path, {2: [1.0, 1.0]})
    told = json.loads((folder / "sweep.json").read_text())
    told["points"][0]["point"] |= {"replicas": 1} | asked
    (folder / "sweep.json").write_text(json.dumps(told))
    (point,) = load_sweep(folder).points
    assert point.cluster is None
    assert "not what a sweep writes" in point.reason


def test_one_that_is_missing_is_named(point: Path) -> None:
    with pytest.raises(InputError, match="replica-3"):
        open_cluster(point, {**ASKED, "replicas": 3})
