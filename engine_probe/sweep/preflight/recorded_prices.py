"""Times of points from the prices of steps, taken from recordings of the same engine on this kind of machine.

Whatever the workload of a recording was, its steps tell what a step costs by what is in it. Engine arguments that only
limit the scheduler do not change that; all others do, and a recording with other ones prices nothing here.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from engine_probe.analysis.batch.step_prices import calibrated, step_sample
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.twin.step_times import StepTimes
from engine_probe.errors import EngineProbeError
from engine_probe.recordings.run import load
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.preflight.asked_requests import AskedRequests, asked_requests
from engine_probe.sweep.preflight.batch_schedule import BatchForecast, BatchLimits, Schedule
from engine_probe.sweep.preflight.earlier_sweeps import Past
from engine_probe.sweep.preflight.memory_fit import pool_tokens
from engine_probe.text_format import model_name

MOST_RECORDINGS = 4  # of an engine, so that a dry run stays short
# Engine arguments that decide which steps an engine takes, and not what a step costs.
OF_THE_SCHEDULER = {
    *("max_num_seqs", "max_num_batched_tokens", "num_gpu_blocks_override", "kv_cache_memory_bytes", "max_model_len"),
    *("gpu_memory_utilization", "enable_prefix_caching", "enable_chunked_prefill", "scheduling_policy", "seed"),
}


class PointPrices(NamedTuple):
    """What a step of one engine costs."""

    times: StepTimes
    recordings: int


def priced_engine(spec: EngineSpec) -> EngineSpec:
    """Return the engine without the arguments that do not change what a step costs."""
    priced = {key: value for key, value in spec.arguments.items() if key not in OF_THE_SCHEDULER}
    return EngineSpec(spec.model, priced, spec.environment)


def recording_command(spec: EngineSpec) -> str:
    """Return the command that records what a step of this engine costs, whatever the sweep asks of it."""
    smoke = read_sweep("smoke").engine.spec
    wanted, own = priced_engine(spec).arguments, priced_engine(smoke).arguments
    changes = {name: wanted.get(name, {}) for name in (*wanted, *own) if wanted.get(name) != own.get(name)}
    settings = "".join(f" --set engine.arguments.{name}={json.dumps(value)}" for name, value in changes.items())
    settings += "".join(f" --set engine.environment.{name}={value}" for name, value in spec.environment.items())
    return f"engine_probe sweep smoke --model {model_name(spec.model)} --set repeats=1{settings}"


def unknown_speed(spec: EngineSpec, where: Path) -> str:
    """Say that nothing is known of how fast this machine runs an engine, and which command tells."""
    return (
        f"how fast this machine runs such an engine is not known, because no sweep in {where} recorded it (--like "
        f"FOLDER looks elsewhere). This command records it: {recording_command(spec)}"
    )


class RecordedPrices:
    """The prices of each engine that was recorded, fitted when they are first asked for.

    Called with a point, it returns the seconds that the point takes by them; None where they are not known.
    """

    def __init__(self, past: Sequence[Past]) -> None:
        self._past = [one for one in past if one.recording is not None and not one.point.together]
        self._found: dict[str, PointPrices | None] = {}

    def __call__(self, point: Point) -> float | None:
        found = None if no_forecast(point) else self.of(point)
        if found is None:
            return None
        asked = asked_requests(point)
        forecast = None if asked is None else schedule(point, asked, lambda work: float(found.times.ns(work)))
        return None if forecast is None else forecast.seconds

    def of(self, point: Point) -> PointPrices | None:
        """Return the prices of this point's engine. None if it was not recorded, or too little of it."""
        engine = priced_engine(point.engine.spec)
        if engine.key not in self._found:
            alike = [one.recording for one in self._past if priced_engine(one.point.engine.spec) == engine]
            self._found[engine.key] = fitted([folder for folder in alike if folder is not None])
        return self._found[engine.key]


def fitted(folders: Sequence[Path]) -> PointPrices | None:
    """Fit the prices to some recordings from each part of the list, or to all if these have too few steps."""
    every = max(1, math.ceil(len(folders) / MOST_RECORDINGS))
    found = prices_of(folders[::every])
    return prices_of(folders) if found is None and every > 1 else found


def prices_of(folders: Sequence[Path]) -> PointPrices | None:
    samples = []
    for folder in folders:
        try:
            run = load(folder)
            samples.append(step_sample(run.facts, run.iterations, run.requests))
        except EngineProbeError:  # a recording that cannot be read prices nothing
            continue
    try:
        return PointPrices(calibrated(samples), len(samples)) if samples else None
    except EngineProbeError:  # too few steps
        return None


def no_forecast(point: Point) -> bool:
    """Return whether what a point does is not known before: it ends when it is steady, drafts tokens, or is a twin."""
    is_twin, is_text = point.engine.twin is not None, point.quality is not None
    return is_twin or is_text or point.stop.steady is not None or "speculative_config" in point.engine.arguments


def peak_in_steps(point: Point) -> int | None:
    """Return the most tokens at one time, if all steps took equally long. None where only time decides it."""
    asked = None if no_forecast(point) else asked_requests(point)
    if asked is None or point.workload.in_flight is None:
        return None
    if any(turn.pause_ns for session in asked.sessions for turn in session):
        return None
    found = schedule(point, asked, lambda work: 1.0, pool=False)
    return None if found is None else found.peak_tokens


def schedule(
    point: Point, asked: AskedRequests, step_ns: Callable[..., float], pool: bool = True
) -> BatchForecast | None:
    arguments = point.engine.arguments
    seqs, tokens = arguments.get("max_num_seqs"), arguments.get("max_num_batched_tokens")
    limits = BatchLimits(
        seqs if isinstance(seqs, int) else math.inf,
        tokens if isinstance(tokens, int) else math.inf,
        (pool_tokens(point) or math.inf) if pool else math.inf,
        point.stop.requests,
    )
    return Schedule(asked, limits, step_ns).run()
