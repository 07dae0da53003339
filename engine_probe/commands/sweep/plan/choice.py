"""The engines that `plan --slo` compares: every GPU that is named, divided in every way that the model allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine_probe.analysis.run.slo import NAMES, read_goodput
from engine_probe.engine.models.geometry import geometry
from engine_probe.engine.twin.engine_choice import Candidate, Limits, Offer, candidate
from engine_probe.errors import InputError
from engine_probe.sweep.preflight.device_plan import configuration, plan_on

RANKS = (1, 2, 4, 8)  # of tensor parallelism within a node
TENSOR_PARALLEL = "tensor_parallel_size"


def read_limits(words: Sequence[str]) -> Limits:
    """Read `ttft:200 tpot:30`; refuse limits of which a plan knows nothing."""
    for word in " ".join(words).split():
        if word.partition(":")[0] not in NAMES:
            raise InputError(f"--slo {word}: a plan knows limits on {', '.join(NAMES)}: write ttft:200, in ms")
    try:
        slo = read_goodput(list(words))
    except InputError as error:
        raise InputError(str(error).replace("--goodput", "--slo")) from error
    if slo is None:
        raise InputError("--slo names no limit: write ttft:200 tpot:30, in ms")
    return Limits(**{name: limit / 1e3 for name, limit in slo.limits_ms.items()})


def candidates(
    model: str,
    devices: Sequence[str],
    given: Mapping[str, Any],
    lengths: tuple[int, int],
    asked: tuple[Limits, float | None],
    offers: Sequence[Offer],
) -> list[Candidate]:
    """Return the engines on each device, by the number of GPUs that share the weights."""
    heads = geometry(configuration(model)).heads
    ranks = [int(given[TENSOR_PARALLEL])] if TENSOR_PARALLEL in given else [n for n in RANKS if heads % n == 0]
    return [
        candidate(plan_on(model, device, {**given, TENSOR_PARALLEL: count}, lengths)[0], *asked, offer)
        for device, offer in zip(devices, offers, strict=True)
        for count in ranks
    ]
