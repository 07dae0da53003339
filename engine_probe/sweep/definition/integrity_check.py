"""The checks of `check_integrity`: what cannot be compared token by token is refused before an engine starts."""

import json
from collections.abc import Sequence

from engine_probe.errors import InputError
from engine_probe.sweep.definition.sweep_file import Point, SweepFile
from engine_probe.workload.prompts import Conversations

LEAVE_OUT = "or leave check_integrity out"


def check_comparable(sweep: SweepFile, found: Sequence[Point]) -> None:
    """Refuse a sweep whose answers cannot be compared over the load, before an engine starts."""
    if not sweep.check_integrity:
        return
    if sweep.adaptive is not None:
        raise InputError(f"check_integrity compares loads that are given, not searched: list them in axes, {LEAVE_OUT}")
    for point in found:
        _check_point(point)
    by_curve: dict[str, set[float]] = {}
    counts: dict[str, set[int | None]] = {}
    for point in found:
        name = json.dumps(point.curve, sort_keys=True)
        by_curve.setdefault(name, set()).add(point.load)
        counts.setdefault(name, set()).add(point.workload.sessions)
    for name, loads in by_curve.items():
        if len(loads) < 2:
            raise InputError(
                f"check_integrity compares the answers of several loads, and there is only {loads.pop():g}: give an "
                f"axis such as workload.concurrency = [1, 8], {LEAVE_OUT}"
            )
        if len(counts[name]) > 1:
            raise InputError(
                "check_integrity compares answers to the same prompts, and workload.num_prompts is "
                f"{' or '.join(map(str, sorted(counts[name], key=str)))}, by the load: give one number, {LEAVE_OUT}"
            )


def _check_point(point: Point) -> None:
    sampling = point.workload.sampling
    if sampling.temperature:
        raise InputError(
            f"workload.sampling.temperature is {sampling.temperature:g}, and check_integrity compares greedy answers "
            f"token by token, because sampled ones differ anyway: set it to 0, {LEAVE_OUT}"
        )
    if isinstance(point.workload.prompts, Conversations):
        raise InputError(
            "check_integrity compares answers to the same prompts, and later turns of conversations hold earlier "
            f"answers: give other prompts, {LEAVE_OUT}"
        )
    if not point.probe:
        raise InputError(f"probe = false: nothing is recorded, so that no answers are compared: leave it, {LEAVE_OUT}")
