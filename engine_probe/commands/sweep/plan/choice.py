"""What `plan` compares: GPUs with their prices, and with --slo each one divided in every way that the model allows."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine_probe.analysis.money.hardware_options import monthly
from engine_probe.analysis.money.prices import Option, Prices
from engine_probe.analysis.run.slo import NAMES, read_goodput
from engine_probe.engine.twin.capacity_plan import sizes_of
from engine_probe.engine.twin.engine_choice import Candidate, GpuOffer, LatencyLimits, candidate
from engine_probe.errors import InputError
from engine_probe.sweep.preflight.device_plan import built_for, configuration, plan_on

RANKS = (1, 2, 4, 8)  # of tensor parallelism within a node
TENSOR_PARALLEL = "tensor_parallel_size"


def read_limits(words: Sequence[str]) -> LatencyLimits:
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
    return LatencyLimits(**{name: limit / 1e3 for name, limit in slo.limits_ms.items()})


def candidates(
    model: str,
    devices: Sequence[str],
    given: Mapping[str, Any],
    lengths: tuple[int, int],
    asked: tuple[LatencyLimits, float | None],
    offers: Sequence[GpuOffer],
) -> list[Candidate]:
    """Return the engines on each device, by the number of GPUs that share the weights."""
    built = built_for(model, given)
    heads = sizes_of(configuration(model), built)[0].heads
    ranks = [int(given[TENSOR_PARALLEL])] if TENSOR_PARALLEL in given else [n for n in RANKS if heads % n == 0]
    if built is not None and TENSOR_PARALLEL not in given:
        ranks = [n for n in ranks if not isinstance(built.layouts[n], str)]
    return [
        candidate(plan_on(model, device, {**given, TENSOR_PARALLEL: count}, lengths)[0], *asked, offer)
        for device, offer in zip(devices, offers, strict=True)
        for count in ranks
    ]


def offer_of(prices: Prices | None, source: str, names: tuple[str, str]) -> GpuOffer:
    """Return the offer of one GPU: the option of the list that is called so; `names` are the asked and the full one."""
    found = [] if prices is None else [option for option in prices.options if is_named(option, names)]
    if prices is None or not found:
        return GpuOffer()
    costs = {monthly(option, prices)[1] / prices.hours_per_month for option in found}
    if len(costs) > 1:
        raise InputError(f"--money {source}: {found[0].name} has several prices: leave one of its options")
    watts = {option.watts for option in found if option.watts}
    return GpuOffer(costs.pop(), watts.pop() if len(watts) == 1 else None, source)


def is_named(option: Option, names: tuple[str, str]) -> bool:
    asked, whole = (name.lower() for name in names)
    name = option.name.lower()
    return name in (asked, whole) or whole.startswith(f"{name} ")
