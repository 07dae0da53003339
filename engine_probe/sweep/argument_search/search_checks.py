"""The checks of [search], before an engine starts."""

from engine_probe.analysis.compare.argument_trials import GOODPUT
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.statistics.sample import enough
from engine_probe.errors import InputError
from engine_probe.sweep.argument_search.space import PLACE
from engine_probe.sweep.argument_search.suggest import check_installed
from engine_probe.sweep.definition.sweep_file import SweepFile


def check_search(sweep: SweepFile) -> None:
    """Refuse a search that contradicts the rest of its file, or that varies what vLLM does not take."""
    search = sweep.search
    if search is None:
        return
    search.check()
    slo = limits_of(sweep)
    if sweep.adaptive is not None and search.slo is not None:
        raise InputError("search.slo: adaptive searches the load of each setting by limits of its own: move them to it")
    if search.objective == GOODPUT and slo is None:
        where = "search.slo" if sweep.adaptive is None else 'adaptive.slo and adaptive.goal = "slo"'
        raise InputError(f'search.objective is "{GOODPUT}", which counts requests within limits: add {where}')
    if sweep.axes or sweep.include or sweep.exclude:
        axis = next(iter(sweep.axes), "include")
        raise InputError(f"search varies {PLACE} at one workload, and {axis} is an axis: leave axes out, or the search")
    if sweep.repeats > 1:
        raise InputError(
            f"repeats is {sweep.repeats}, and a search repeats by itself: leave it out, set search.confirm"
        )
    if not sweep.probe:
        raise InputError("probe = false: a search judges its trials by their recordings: leave probe out")
    if sweep.mix or sweep.replicas > 1:
        raise InputError("search varies the arguments of one engine: leave replicas and mix out")
    for name, given in (("check_integrity", sweep.check_integrity), ("quality", sweep.quality is not None)):
        if given:
            raise InputError(f"{name} is for sweeps of given points: leave it out of a search")
    check_reserved(sweep)
    if sweep.adaptive is None:  # else each load has as many requests as it asks for
        check_requests(search.slo, sweep.workload.most_requests)


def limits_of(sweep: SweepFile) -> Slo | None:
    """Return the limits that a setting must meet: of the search, or of the search for its load."""
    assert sweep.search is not None
    return sweep.search.slo if sweep.adaptive is None else sweep.adaptive.slo


def check_requests(slo: Slo | None, count: int | None) -> None:
    """Refuse an SLO whose percentile cannot be known from so many requests. None: their number is not known."""
    if slo is not None and slo.limits_ms and count is not None and not enough(count, slo.percentile):
        raise InputError(
            f"search.slo: {count} requests have no p{slo.percentile:g}: raise workload.num_prompts, or lower "
            "search.slo.percentile"
        )


def check_reserved(sweep: SweepFile) -> None:
    """Refuse to vary what makes the trials answer other questions."""
    assert sweep.search is not None
    for name in sweep.search.arguments:
        if name in ("tokenizer", "seed", "distributed_executor_backend"):
            raise InputError(f"{PLACE}.{name}: a search varies what throughput depends on: leave {name} out")


def check_can_search(sweep: SweepFile) -> None:
    """Refuse a search whose library is missing, which only measuring needs."""
    if sweep.search is not None:
        check_installed()
