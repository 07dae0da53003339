"""Two real engines of `tiny` that measure a point together, each on its share of the cores."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from engine_probe import load
from engine_probe.analysis.run.token_times import token_times
from engine_probe.recordings.cluster import Cluster
from engine_probe.recordings.sweep import Swept, load_sweep
from tests.support.engines.forked_command import engine_probe_here

pytestmark = [
    pytest.mark.lengthy,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="each of two engines needs a core"),
]

SWEEP = """
question = "Do they add up?"
replicas = 2
[engine]
model = "tiny"
[engine.arguments]
block_size = 32
max_model_len = 256
enable_prefix_caching = false
enforce_eager = true
[workload]
input_len = 32
output_len = 64
concurrency = 4
"""
TRUTH = 0.03  # within which the sum has to be


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replicas")
    (path / "two.toml").write_text(SWEEP)
    done = engine_probe_here("sweep", "two.toml", "--out", "out", cwd=path)
    assert done.returncode == 0, done.stderr
    assert "2 × tiny at 4 concurrent requests each" in done.stdout
    return path / "out"


@pytest.fixture(scope="module")
def swept(folder: Path) -> Swept:
    return load_sweep(folder)


@pytest.fixture(scope="module")
def cluster(swept: Swept) -> Cluster:
    (point,) = swept.clusters
    assert point.cluster is not None
    return point.cluster


def test_the_sum_is_the_truth(folder: Path, cluster: Cluster) -> None:
    """The truth is counted from each request's token times, which the sum does not use."""
    window, tokens = cluster.window, 0
    for engine in cluster.engines:
        run = load(engine.run.folder)
        times = token_times(run.iterations, run.requests)["time_ns"].to_numpy()
        tokens += int(np.count_nonzero((times > window.begin_ns) & (times <= window.end_ns)))
    truth = tokens / window.seconds
    (row,) = json.loads((folder / "sweep.json").read_text())["points"]
    for told in (cluster.output_tokens_per_s, row["output_tokens"] / row["seconds"]):
        assert told == pytest.approx(truth, rel=TRUTH)
    assert sum(one["output_tokens"] for one in row["replicas"]) == row["output_tokens"]


def test_they_hold_their_load_together(cluster: Cluster) -> None:
    assert cluster.window.held
    begins = [engine.run.facts["outcome"]["started_ns"] for engine in cluster.engines]
    assert max(begins) < min(engine.run.facts["outcome"]["ended_ns"] for engine in cluster.engines)


def test_each_has_cores_of_its_own(cluster: Cluster) -> None:
    cores = [engine.run.facts["hardware"]["host"]["cores"] for engine in cluster.engines]
    assert sum(cores) <= len(os.sched_getaffinity(0))
    assert len({engine.run.facts["process"]["pid"] for engine in cluster.engines}) == 2
