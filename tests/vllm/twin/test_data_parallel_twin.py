"""A twin of several data-parallel cores: one load, divided by vLLM's balancer, and a recording of each core."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

import engine_probe
from engine_probe.analysis.batch.calibration import Recorded, steps_alone
from engine_probe.analysis.batch.step_prices import with_tokens
from engine_probe.analysis.run.token_times import update_end_ns
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import TERMS, Price, StepTimes
from engine_probe.recordings.cluster import Cluster
from tests.support.engines.forked_command import engine_probe_here

CORES, REQUESTS = 3, 48
TRUTH = (4e6, 1e6, 50e3, 9e3, 30e3, 3.0, 40.0, 0.0)
ARRIVAL_NS = 300_000  # of a core's host, for each request that it gets
REQUESTS_TAKE = {"arrival": Price(float(ARRIVAL_NS))}
TIMES = StepTimes({name: Price(ns, 0.0, 1e9) for name, ns in zip(TERMS, TRUTH, strict=True)}, requests=REQUESTS_TAKE)
SWEEP = f"""
question = "What do several cores do with one load?"
[engine]
model = "tiny"
[engine.arguments]
max_model_len = 256
data_parallel_size = {CORES}
[workload]
input_len = 40
output_len = 30
num_prompts = {REQUESTS}
hold = false
[axes]
"workload.arrivals" = [
  {{ kind = "closed_loop", users = 12 }},
  {{ kind = "open_loop", request_rate = 60.0 }},
]
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cores")
    limits = {"block_size": 16, "num_gpu_blocks_override": 200, "max_num_seqs": 16, "async_scheduling": False}
    twin = Twin("a test", TIMES, {**limits, "max_num_batched_tokens": 256, "enable_prefix_caching": False})
    asked = folder / "cores.toml"
    asked.write_text(SWEEP)
    told = f"engine.twin={json.dumps(msgspec.to_builtins(twin))}"
    done = engine_probe_here("sweep", asked, "--set", told, "--out", folder / "out")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{CORES} engines together" in done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def clusters(sweep: Path) -> list[Cluster]:
    found = [point.cluster for point in engine_probe.load_sweep(sweep).points]
    assert None not in found
    return [one for one in found if one is not None]


def test_each_core_is_recorded_as_a_core_of_such_an_engine(clusters: list[Cluster]) -> None:
    for cluster in clusters:
        facts = [engine.run.facts for engine in cluster.engines]
        parallel = [each["engine"]["arguments"]["parallel_config"] for each in facts]
        assert [each["data_parallel_index"] for each in parallel] == list(range(CORES))
        assert all(each["data_parallel_size"] == 1 for each in parallel)
        assert all(each["predicted"]["calibrated_from"] == "a test" for each in facts)


def test_every_request_is_answered_by_one_core(clusters: list[Cluster]) -> None:
    for cluster in clusters:
        asked = [set(engine.run.answers["prompt_id"].to_pylist()) for engine in cluster.engines]
        assert sum(map(len, asked)) == len(set().union(*asked)) == REQUESTS
        told = [engine.run.facts["outcome"] for engine in cluster.engines]
        assert [each["handed_over"] for each in told] == list(map(len, asked))
        assert [each["answered_tokens"] for each in told] == [30 * len(each) for each in asked]
        assert cluster.success is not None
        assert cluster.success.answered == REQUESTS


def test_a_burst_is_dealt_out_in_turn(clusters: list[Cluster]) -> None:
    """Of 12 users that begin at once each core gets 4, and so it stays: their answers are equally long."""
    assert [engine.run.answers.num_rows for engine in clusters[0].engines] == [REQUESTS // CORES] * CORES
    assert [engine.analysis.summary.peak_running for engine in clusters[0].engines] == [4] * CORES


def test_cores_compute_at_the_same_time_and_each_step_takes_what_its_own_work_takes(clusters: list[Cluster]) -> None:
    for cluster in clusters:
        samples = []
        for engine in cluster.engines:
            run = engine.run
            starts, ends = run.iterations["start_ns"].to_numpy(), update_end_ns(run.iterations)
            assert (starts[1:] >= ends[:-1]).all()
            recorded = Recorded(run.facts, run.iterations, run.requests, run.workers)
            sample = with_tokens(steps_alone(recorded, REQUESTS_TAKE), run.facts, run.iterations)
            exact = sample.counts[:, 3] == 0
            assert sample.ns[exact] == pytest.approx(sample.counts[exact] @ np.array(TRUTH), abs=2)
            samples.append((starts[0], ends[-1]))
        begun, over = max(start for start, _ in samples), min(end for _, end in samples)
        assert over - begun > 0.8 * max(end - start for start, end in samples)


def test_a_core_that_is_free_gets_a_request_when_it_is_due(clusters: list[Cluster]) -> None:
    """Although others compute: a driver of one engine hands requests over between its steps."""
    late = [engine.run.facts["outcome"]["late_ns"]["most"] for engine in clusters[1].engines]
    assert late == [0] * CORES


def test_a_request_takes_time_of_its_own_core_alone(clusters: list[Cluster]) -> None:
    """Twelve users ask at the same moment: each core begins when its own four are there."""
    for engine in clusters[0].engines:
        asked, begun = engine.run.requests["arrival_ns"].to_numpy(), engine.run.iterations["start_ns"].to_numpy()
        assert abs(begun[0] - asked.min() - 4 * ARRIVAL_NS) < 1000


def test_figures_are_those_of_the_load_of_each(sweep: Path) -> None:
    done = engine_probe_here("report", sweep)
    assert done.returncode == 0, done.stderr
    assert f"{CORES} \u00d7 tiny at 4 users each" in done.stdout
    assert f"{CORES} \u00d7 tiny at 20 requests/s each" in done.stdout
