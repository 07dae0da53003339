"""Output tokens/s per GPU over those per user: every level of several curves, and their frontier."""

from collections.abc import Sequence

from engine_probe.analysis.pareto import Frontier, ServingCurve, ServingLevel
from engine_probe.report.charts.model import Axis, Lines, Series, of_levels
from engine_probe.workload.load import level_words

NOTE = (
    "Per user: 1 / TPOT of the median request. Per {device}: output tokens/s over all {device}s. The frontier is the "
    "highest throughput of the levels that give a user at least so much; nothing is interpolated."
)
FRONTIER_COLOUR = 5


def pareto_chart(found: Frontier) -> Lines:
    curves = list(dict.fromkeys(placed.curve for placed in found.placed))
    xs = sorted({level.per_user.mean for curve in curves for level in curve.levels})
    best = [(placed.level.per_user.mean, placed.level.per_gpu.mean) for placed in found.levels]
    series = [
        *(curve_series(xs, curve, number) for number, curve in enumerate(curves)),
        Series("frontier", of_levels(xs, best), style="until", colour=FRONTIER_COLOUR),
    ]
    return Lines(
        title=f"Tokens/s per {found.device} against tokens/s per user",
        note=NOTE.format(device=found.device),
        x=Axis("per user", "tokens/s"),
        y=[Axis(f"per {found.device}", "tokens/s")],
        xs=of_levels(xs, ((x, x) for x in xs)),
        series=series,
    )


def curve_series(xs: Sequence[float], curve: ServingCurve, number: int) -> Series:
    """Return the levels of a curve, each with the load that the mouse shows."""
    by_user = {level.per_user.mean: level for level in curve.levels}
    ends = {user: level for user, level in by_user.items() if level.per_gpu.low is not None}
    return Series(
        curve.name or "levels",
        of_levels(xs, ((user, level.per_gpu.mean) for user, level in by_user.items())),
        style="both",
        colour=number,
        low=of_levels(xs, ((user, level.per_gpu.low) for user, level in ends.items())) if ends else [],
        high=of_levels(xs, ((user, level.per_gpu.high) for user, level in ends.items())) if ends else [],
        names=[level_name(curve, by_user[x]) if x in by_user else "" for x in xs],
    )


def level_name(curve: ServingCurve, level: ServingLevel) -> str:
    return level_words(level.load, curve.unit)
