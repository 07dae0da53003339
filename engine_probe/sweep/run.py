"""Runs the points of a sweep on one warm engine, each recorded by the probe into a folder of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.build import build_llm
from engine_probe.engine.spec import EngineSpec
from engine_probe.probe import Probe
from engine_probe.sweep.plan import Point, SweepFile, points

FIRST_TOKEN_ID, LAST_TOKEN_ID = 10, 250  # in the vocabulary of every model, and no special token


class PointResult(msgspec.Struct, frozen=True):
    """What one point came to; every figure is counted in the recording."""

    id: str
    point: Point
    status: str
    iterations: int
    output_tokens: int
    seconds: float
    peak_running: int
    peak_waiting: int
    peak_kv_share: float
    preemptions: int

    @property
    def output_tokens_per_s(self) -> float:
        return self.output_tokens / self.seconds


def prompts(point: Point) -> list[dict[str, list[int]]]:
    """Exact token lengths; the same seed gives the same bytes."""
    chance = random.Random(point.seed)
    return [
        {"prompt_token_ids": [chance.randint(FIRST_TOKEN_ID, LAST_TOKEN_ID) for _ in range(point.input_len)]}
        for _ in range(point.concurrency)
    ]


def run_sweep(
    sweep: SweepFile, out: Path, say: Callable[[str], None], done: Callable[[PointResult], None]
) -> list[PointResult]:
    spec = EngineSpec(sweep.engine.model, sweep.engine.arguments)
    say(f"starting a vLLM engine on {spec.model}")
    llm = build_llm(spec, say=say)
    results = []
    for point in points(sweep):
        result = run_point(llm, spec, point, out / "points" / point.key(spec))
        results.append(result)
        (out / "sweep.json").write_bytes(msgspec.json.format(msgspec.json.encode({"sweep": sweep, "points": results})))
        done(result)
    return results


def run_point(llm: Any, spec: EngineSpec, point: Point, folder: Path) -> PointResult:
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=point.output_len, ignore_eos=True, temperature=0, seed=point.seed)
    with Probe(llm, folder, workload=msgspec.to_builtins(point)) as probe:
        llm.generate(prompts(point), parameters, use_tqdm=False)
    rows = probe.run.iterations.to_pydict()
    end = rows["start_ns"][-1] + rows["schedule_ns"][-1] + rows["execute_ns"][-1] + rows["update_ns"][-1]
    return PointResult(
        id=folder.name,
        point=point,
        status=probe.run.status,
        iterations=len(rows["iteration"]),
        output_tokens=sum(rows["output_tokens"]),
        seconds=(end - rows["start_ns"][0]) / 1e9,
        peak_running=max(rows["running_requests"]),
        peak_waiting=max(rows["waiting_requests"]),
        peak_kv_share=max(rows["kv_blocks_scheduled"]) / probe.run.facts["kv"]["blocks"],
        preemptions=sum(rows["preempted_requests"]),
    )
