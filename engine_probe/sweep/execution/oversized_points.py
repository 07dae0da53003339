"""Points that need more than a machine or a fleet has: left out one by one, so that the others are measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.errors import InputError
from engine_probe.sweep.definition.checkpoints import absent
from engine_probe.sweep.definition.sweep_file import Point, SweepFile
from engine_probe.sweep.fleet.resources import RayNode, check_claims
from engine_probe.sweep.preflight.gpu_memory import check_memory, smallest_gpu
from engine_probe.sweep.preflight.memory_fit import check_gpus, check_host, check_shares
from engine_probe.text_format import counted

Reasons = Mapping[str, str]  # key of a point -> why it cannot be measured


def beyond_machine(found: Sequence[Point], gpus: Sequence[dict[str, Any]], memory_bytes: int) -> dict[str, str]:
    """Return the points whose engines this machine cannot hold; a twin needs neither GPU nor memory for weights."""

    def check(point: Point) -> None:
        if point.engine.twin is not None:
            return
        check_gpus([point], gpus)
        check_memory(smallest_gpu(gpus), [point])
        if not gpus:
            check_host([point], memory_bytes)
        check_shares([point], len(gpus))

    return refused(found, check)


def beyond_fleet(found: Sequence[Point], nodes: list[RayNode]) -> dict[str, str]:
    """Return the points whose engines no machine of the fleet can hold, or not all at the same time."""

    def check(point: Point) -> None:
        check_claims([point.engines], nodes)

    return refused(found, check)


def without_checkpoint(sweep: SweepFile, found: Sequence[Point]) -> dict[str, str]:
    """Return the points whose weights are not here."""
    missing = absent(sweep)
    each = (
        (point, next((missing[spec.model] for spec in point.engines if spec.model in missing), None)) for point in found
    )
    return {point.key: reason for point, reason in each if reason}


def refused(found: Sequence[Point], check: Callable[[Point], None]) -> dict[str, str]:
    """Return the reasons with which a check refuses points; those of the same engines have the same one."""
    by_engines: dict[tuple[EngineSpec, ...], str | None] = {}
    for point in found:
        if point.engines not in by_engines:
            try:
                check(point)
                by_engines[point.engines] = None
            except InputError as error:
                by_engines[point.engines] = str(error).removeprefix(point.label).lstrip(":, ")
    return {point.key: reason for point in found if (reason := by_engines[point.engines])}


def check_any_left(found: Sequence[Point], reasons: Reasons) -> None:
    """Refuse a sweep of which no point can be measured, with the reason of its first."""
    if found and all(point.key in reasons for point in found):
        raise InputError(f"{found[0].label}: {reasons[found[0].key]}")


def told(found: Sequence[Point], reasons: Reasons) -> list[str]:
    """Return a sentence for each reason, with the points that are left out because of it."""
    labels: dict[str, list[str]] = {}
    for point in found:
        if point.key in reasons:
            labels.setdefault(reasons[point.key], []).append(point.label)
    return [f"left out: {several(names)}: {reason}" for reason, names in labels.items()]


def several(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {counted(len(names) - 1, 'more point')}"
