"""Counting requests, in place of asking vLLM about each in every step, leaves no trace in a recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine_probe.recordings.run import Run, load

BLOCKS = {"max_model_len": 256, "block_size": 32, "num_gpu_blocks_override": 65, "max_num_seqs": 16}
RECORDED = """
from functools import partial
from pathlib import Path
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.twin.build import build_twin
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import Price, StepTimes
from engine_probe.engine.twin.virtual_clock import VirtualClock
from engine_probe.probe import Probe
from engine_probe.sweep.engine_process.recorded_point import so_far
from engine_probe.workload.answers import AnswerLog, KeepAnswers
from engine_probe.workload.arrivals import OpenLoop
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.workload_run import plan_for, run_plan
from engine_probe.workload.workload_spec import Workload

prices = {{name: Price(ns) for name, ns in (("step", 4e6), ("prompt token", 9e3), ("answer token", 1e5))}}
clock = VirtualClock()
with clock.installed():
    times = StepTimes(prices, requests={{"arrival": Price(3e5), "end": Price(1e5)}})
    twin = build_twin(EngineSpec("tiny", {arguments!r}), Twin("the test", times), clock, print)
    scheduler = twin.llm_engine.engine_core.engine_core.scheduler
    work = Workload(RandomPrompts(40), OpenLoop(40.0), output_len=60, num_prompts=48, deadline_seconds=0.3)
    answer = []
    for number, is_counting in enumerate((True, False)):
        assert twin.reset_prefix_cache()
        scheduler.is_counting, before = is_counting, scheduler.counted_steps
        with Probe(twin, Path({folder!r}) / str(number), telemetry=False) as probe:
            log = AnswerLog(probe.recorder.answers.append, KeepAnswers("tokens"), partial(so_far, twin.llm_engine))
            run_plan(twin, plan_for(twin, work), answers=log)
        answer.append(scheduler.counted_steps - before)
"""
AT = ("arrival_ns", "queued_ns", "first_scheduled_ns", "first_token_ns", "last_token_ns", "finished_ns")


def steps_of(run: Run) -> list[dict[str, Any]]:
    """Every step, its beginning since that of the first, without what the probe cost this process."""
    begin = run.iterations["start_ns"][0].as_py()
    rows = run.iterations.drop_columns("probe_ns").to_pylist()
    return [row | {"start_ns": row["start_ns"] - begin} for row in rows]


def requests_of(run: Run) -> list[dict[str, Any]]:
    rows = run.requests.drop_columns(["request_id", *AT]).to_pylist()
    return sorted(rows, key=str)


def moments_of(run: Run, name: str) -> np.ndarray:
    begin = run.iterations["start_ns"][0].as_py()
    return np.sort(run.requests[name].drop_null().to_numpy() - begin)


def test_recordings_are_the_same_with_and_without_it(
    in_own_process: Callable[[None, dict[str, object], str], Any], tmp_path: Path
) -> None:
    """Requests share steps, wait for places, miss their deadline half-way, and are answered."""
    counted, asked = in_own_process(None, {}, RECORDED.format(arguments=BLOCKS, folder=str(tmp_path)))
    assert counted > 20
    assert asked == 0
    with_counting, without = load(tmp_path / "0"), load(tmp_path / "1")
    assert steps_of(with_counting) == steps_of(without)
    assert requests_of(with_counting) == requests_of(without)
    for name in AT:
        near = 1_000 if name == "arrival_ns" else 0  # vLLM's arrivals are floats of seconds
        assert np.abs(moments_of(with_counting, name) - moments_of(without, name)).max() <= near, name
    outcomes, tokens = (without.answers[name].to_pylist() for name in ("outcome", "token_ids"))
    assert with_counting.answers["token_ids"].to_pylist() == tokens
    assert with_counting.answers["outcome"].to_pylist() == outcomes
    partial = [len(each) for each, outcome in zip(tokens, outcomes, strict=True) if outcome == "deadline"]
    assert partial
    assert 0 < max(partial) < 60
    assert "answered" in outcomes
