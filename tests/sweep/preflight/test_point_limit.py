"""The time limit of a point: far above what a healthy engine takes, whatever is asked."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.dry_run import show_points
from engine_probe.sweep.preflight.duration_estimate import DeviceSpeed, estimate
from engine_probe.sweep.preflight.point_limit import LEAST_SECONDS, longest_time
from engine_probe.sweep.preflight.target import Target
from engine_probe.workload.arrivals import ClosedLoop, OpenLoop, Ramp, Replay
from engine_probe.workload.dataset_file import Dataset
from engine_probe.workload.lengths import Uniform
from engine_probe.workload.prompts import Conversations
from engine_probe.workload.stop import Stop
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_spec import WarmUp

TINY = EngineSection("tiny", {"max_model_len": 4096})
L4_BYTES_PER_S = 300e9


def beyond_the_least(workload: WorkloadSection, engine: EngineSection = TINY, **more: Any) -> float:
    limit = longest_time(Point(engine, workload, **more))
    assert limit is not None
    return limit - LEAST_SECONDS


@pytest.mark.parametrize(
    ("workload", "seconds"),
    [
        (WorkloadSection(128, 100_000), 100_000 + 128 / 20),
        (WorkloadSection(100, 50, 8, 16), 2 * 50 + 16 * 100 / 20),
        (WorkloadSection(Uniform(20, 40), Uniform(10, 30), 1, 2), 2 * 30 + 2 * 40 / 20),
        (WorkloadSection(None, 10, 1, 1, Conversations(3, 20)), 3 * 10 + 3 * (90 - 10) / 20),
        (WorkloadSection(20, 1, None, 7200, arrivals=OpenLoop(1.0)), 1 + 7200 + 7200),
        (WorkloadSection(20, 1, None, 100, arrivals=Ramp(0.1, 10.0)), 1 + 100 + 1000),
        (WorkloadSection(20, 1, None, 100, arrivals=ClosedLoop(50, think_seconds=60.0)), 2 + 100 + 120),
    ],
)
def test_every_step_and_prompt_has_its_time(workload: WorkloadSection, seconds: float) -> None:
    assert beyond_the_least(workload) == pytest.approx(seconds)


def test_what_a_small_pool_serves_one_after_another_has_the_time_for_that() -> None:
    """A pool of 99 blocks of 16 holds ten of these requests, and the engine runs four at once."""
    engine = EngineSection("tiny", {"num_gpu_blocks_override": 100, "block_size": 16})
    work = WorkloadSection(58, 100, 20)
    assert beyond_the_least(work, engine) == pytest.approx(2 * 100 + 20 * 58 / 20)
    fewer = EngineSection("tiny", {**engine.arguments, "max_num_seqs": 4})
    assert beyond_the_least(work, fewer) == pytest.approx(5 * 100 + 20 * 58 / 20)


def test_large_weights_have_the_time_that_slow_memory_takes() -> None:
    seconds = beyond_the_least(WorkloadSection(20, 10), EngineSection("llama-3.1-70b"))
    assert seconds == pytest.approx(10 * 2 * 70553706496 / 10e9 + 1)


def test_a_stop_and_a_warm_up_count() -> None:
    long = WorkloadSection(20, 5000)
    assert beyond_the_least(long, stop=Stop(seconds=60.0)) == 60
    assert beyond_the_least(long, warm_up=WarmUp(requests=1)) == pytest.approx(2 * 5001)
    assert beyond_the_least(long, warm_up=WarmUp(requests=1), stop=Stop(seconds=60.0)) == pytest.approx(2 * 5001)


@pytest.mark.parametrize(
    "workload",
    [
        WorkloadSection(None, None, prompts=Trace("trace.jsonl", "mooncake"), arrivals=Replay()),
        WorkloadSection(None, 100, 10, None, Dataset("alpaca.json", "alpaca")),
    ],
)
def test_a_file_decides_its_own_time(workload: WorkloadSection) -> None:
    assert longest_time(Point(TINY, workload)) is None


@pytest.mark.parametrize("name", ["decode", "prefill", "prefill_qwen", "streaming"])
def test_the_shipped_lengths_have_room_on_a_slow_gpu(name: str) -> None:
    """At the bandwidth of an L4, and a hundredth of what an H100 multiplies."""
    slow = DeviceSpeed(L4_BYTES_PER_S, multiplies={"bfloat16": 8e12, "float16": 8e12})
    for point in points(read_sweep(f"sequence_length_{name}")):
        fastest, limit = estimate(point, [], slow), longest_time(point)
        assert fastest is not None
        assert limit is not None
        assert limit > 5 * fastest.seconds, point.label


@pytest.mark.lengthy
def test_a_dry_run_says_when_a_point_is_given_up() -> None:
    def told(*settings: str) -> str:
        console = Console(width=80, file=StringIO(), record=True)
        hardware = {"gpus": [], "host": {"memory_bytes": 1 << 40}}
        show_points(read_sweep("sequence_length_decode", list(settings)), Target(hardware=hardware), console)
        return " ".join(console.export_text().split())

    assert "given up after 2.7 h to 36.1 h, depending on what it asks, or 30 min without a step" in told()
    assert "given up after 2.0 h (point_seconds)." in told("point_seconds=7200")
