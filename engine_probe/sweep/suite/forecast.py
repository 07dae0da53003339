"""What a sweep of a suite will ask of this machine, in one row: points, KV pool, time, and what stands against it."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from engine_probe.errors import EngineProbeError
from engine_probe.sweep.definition.checkpoints import absent, check_any_here, points_here
from engine_probe.sweep.definition.perplexity_points import texts
from engine_probe.sweep.definition.request_memory import check_plans
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, apart, points
from engine_probe.sweep.preflight.dry_run import missing_files, pool_share, tokens_needed
from engine_probe.sweep.preflight.duration_estimate import (
    DeviceSpeed,
    Estimate,
    engine_start,
    estimate,
    weights_bytes,
)
from engine_probe.sweep.preflight.earlier_sweeps import Past
from engine_probe.sweep.preflight.gpu_memory import check_memory, smallest_gpu
from engine_probe.sweep.preflight.memory_fit import check_fit, check_gpus, check_host, check_shares


class Forecast(NamedTuple):
    """What is predicted of one sweep."""

    points: int
    engines: int
    weights_bytes: float | None  # of the largest model; None if no geometry is known
    kv_tokens: int | None  # the most that a point holds at one time, if the pool has room
    pool_share: float | None  # the largest of its points; None if no pool is known
    seconds: float | None  # of its points and engine starts together; None if no point has a time
    is_bound: bool  # it takes at least that long
    untimed: int  # points without a time
    against: str  # why it cannot be measured here; empty if nothing is known to stand against it
    missing: tuple[str, ...]  # sentences about what a part of its points lacks


def forecast(sweep: SweepFile, past: Sequence[Past], device: DeviceSpeed | None, hardware: dict[str, Any]) -> Forecast:
    found, here = points(sweep), points_here(sweep)
    guesses = [estimate(point, past, device) for point in here]
    known = [guess for guess in guesses if guess is not None]
    engines = len(list(groupby(found, key=lambda point: point.engine.spec)))
    weights = [size for point in apart(found) if (size := weights_bytes(point)) is not None]
    tokens = [needed for point in found if (needed := tokens_needed(point)) is not None]
    shares = [share for point in found if (share := pool_share(point, past)) is not None]
    return Forecast(
        len(found) + len(texts(sweep)),
        engines,
        max(weights, default=None),
        max(tokens, default=None),
        max(shares, default=None),
        seconds(known, engines, engine_start(here, past)),
        any(guess.is_bound for guess in known),
        len(guesses) - len(known),
        against(sweep, found, hardware),
        (*absent(sweep).values(), *(f"there is no file {path} ({key})" for path, key in missing_files(found, sweep))),
    )


def seconds(known: Sequence[Estimate], engines: int, start_seconds: float | None) -> float | None:
    if not known:
        return None
    return sum(guess.seconds for guess in known) + engines * (start_seconds or 0.0)


def against(sweep: SweepFile, found: Sequence[Point], hardware: dict[str, Any]) -> str:
    """Return the sentence with which a run would be refused before its engine starts; empty if it would not be."""
    gpus, memory_bytes = hardware["gpus"], hardware["host"]["memory_bytes"]
    try:
        check_any_here(sweep)
        check_fit(apart(found))
        check_gpus(found, gpus)
        check_memory(smallest_gpu(gpus), found)
        if not gpus:
            check_host(found, memory_bytes)
        check_shares(found, len(gpus))
        check_plans(apart(found), memory_bytes)
    except EngineProbeError as error:
        return str(error)
    return ""
