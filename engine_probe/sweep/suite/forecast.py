"""What a sweep of a suite will ask of this machine, in one row: points, KV pool, time, and what stands against it."""

from collections.abc import Sequence
from typing import NamedTuple

from engine_probe.errors import EngineProbeError
from engine_probe.sweep.definition.checkpoints import absent, check_any_here
from engine_probe.sweep.definition.perplexity_points import texts
from engine_probe.sweep.definition.request_memory import check_plans
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, apart, points
from engine_probe.sweep.execution.oversized_points import Reasons, check_any_left, told, without_checkpoint
from engine_probe.sweep.preflight.dry_run import missing_files, pool_share, tokens_needed
from engine_probe.sweep.preflight.duration_estimate import Estimate, engine_count, engine_start, weights_bytes
from engine_probe.sweep.preflight.gpu_memory import block_size
from engine_probe.sweep.preflight.memory_fit import check_fit
from engine_probe.sweep.preflight.target import Target


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
    too_large = target.beyond(found)
    left_out = {**without_checkpoint(sweep, found), **too_large}
    here = [point for point in found if point.key not in left_out]
    memory, guesses = target.memories(found), target.estimates(here).values()
    known = [guess for guess in guesses if guess is not None]
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
        seconds(known, engine_count(found), engine_start(here, past)),
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
