"""What a sweep of a suite will ask of this machine, in one row: points, KV pool, time, and what stands against it."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from engine_probe.errors import EngineProbeError
from engine_probe.sweep.definition.checkpoints import absent, check_any_here
from engine_probe.sweep.definition.perplexity_points import texts
from engine_probe.sweep.definition.request_memory import check_plans
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, apart, points
from engine_probe.sweep.execution.oversized_points import (
    Reasons,
    beyond_fleet,
    beyond_machine,
    check_any_left,
    refused,
    told,
    without_checkpoint,
)
from engine_probe.sweep.fleet.resources import RayNode
from engine_probe.sweep.preflight.dry_run import memories_here, missing_files, pool_share, tokens_needed
from engine_probe.sweep.preflight.duration_estimate import (
    DeviceSpeed,
    Estimate,
    engine_start,
    estimate_together,
    measured_speed,
    weights_bytes,
)
from engine_probe.sweep.preflight.earlier_sweeps import Past
from engine_probe.sweep.preflight.gpu_memory import GpuMemory, block_size, check_memory
from engine_probe.sweep.preflight.memory_fit import check_fit
from engine_probe.sweep.preflight.recorded_prices import RecordedPrices


class Target(NamedTuple):
    """What a suite is predicted for: this machine, GPUs of a kind that need not be here, or a fleet."""

    gpu: GpuMemory | None  # the smallest here, or the named one
    hardware: dict[str, Any] | None = None  # of this machine; None for a named GPU
    past: Sequence[Past] = ()
    nodes: list[RayNode] | None = None  # of a fleet
    here: DeviceSpeed | None = None  # of this machine; without it, what the hardware says was measured

    @property
    def speed(self) -> DeviceSpeed | None:
        return self.gpu.speed if self.gpu and self.gpu.speed else self.here or measured_speed(self.hardware or {})


class SweepForecast(NamedTuple):
    """What is predicted of one sweep."""

    points: int
    weights_bytes: float | None  # of the largest model; None if no geometry is known
    kv_tokens: int | None  # the most that a point holds at one time, if the pool has room
    pool_tokens: int | None  # of the smallest predicted pool; None if none is known
    pool_share: float | None  # the largest of its points; None if no pool is known
    seconds: float | None  # of its points and engine starts together; None if no point has a time
    is_bound: bool  # it takes at least that long
    untimed: int  # points without a time
    against: str  # why it cannot be measured here; empty if nothing is known to stand against it
    missing: tuple[str, ...]  # sentences about what a part of its points lacks


def forecast(sweep: SweepFile, target: Target) -> SweepForecast:
    found, past = points(sweep), target.past
    too_large = beyond(found, target)
    left_out = {**without_checkpoint(sweep, found), **too_large}
    here = [point for point in found if point.key not in left_out]
    memory = memories_here(found, Path() if target.hardware else None, target.gpu)
    prices = RecordedPrices(past)
    guesses = [estimate_together(point, past, target.speed, prices) for point in here]
    known = [guess for guess in guesses if guess is not None]
    engines = sum(len(specs) for specs, _ in groupby(found, key=lambda point: point.engines))
    weights = [size for point in apart(found) if (size := weights_bytes(point)) is not None]
    tokens = [tokens_needed(point, block_size(point, target.gpu)) for point in found]
    held = zip(tokens, found, strict=True)
    shares = [pool_share(needed, point, past, memory.get(point.engine.spec)) for needed, point in held]
    pools = [each.pool_tokens for each in memory.values() if not each.refusal and each.pool_tokens is not None]
    return SweepForecast(
        len(found) + len(texts(sweep)),
        max(weights, default=None),
        max((needed for needed in tokens if needed is not None), default=None),
        min(pools, default=None),
        max((share for share in shares if share is not None), default=None),
        seconds(known, engines, engine_start(here, past)),
        any(guess.is_bound for guess in known),
        len(guesses) - len(known),
        against(sweep, found, target, too_large),
        (
            *absent(sweep).values(),
            *told(found, too_large),
            *(f"there is no file {path} ({key})" for path, key in missing_files(found, sweep)),
        ),
    )


def seconds(known: Sequence[Estimate], engines: int, start_seconds: float | None) -> float | None:
    if not known:
        return None
    return sum(guess.seconds for guess in known) + engines * (start_seconds or 0.0)


def against(sweep: SweepFile, found: Sequence[Point], target: Target, too_large: Reasons) -> str:
    """Return the sentence with which a run would be refused before its engine starts; empty if it would not be."""
    try:
        check_any_here(sweep)
        check_fit(apart(found))
        if target.hardware is not None:
            check_plans(apart(found), target.hardware["host"]["memory_bytes"])
        check_any_left(found, too_large)
    except EngineProbeError as error:
        return str(error)
    return ""


def beyond(found: Sequence[Point], target: Target) -> dict[str, str]:
    """Return the points that the target cannot hold, each with its reason."""
    if target.nodes is not None:
        return beyond_fleet(found, target.nodes)
    if target.hardware is not None:
        return beyond_machine(found, target.hardware["gpus"], target.hardware["host"]["memory_bytes"])
    return refused(found, lambda point: check_memory(target.gpu, [point]))
