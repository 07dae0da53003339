"""The hit rate of the prefix cache at each load: a column, a sentence and a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.run.prefix_cache import CacheLoss, cache_loss
from engine_probe.report.charts.levels import over_loads
from engine_probe.report.charts.model import Axis, Lines, Series, load_axis
from engine_probe.workload.load import level_words

if TYPE_CHECKING:
    from engine_probe.recordings.curve import Curve


def share(point: PointFigures) -> float | None:
    return point.summary.prefix_cache.share if point.summary.prefix_cache else None


def worth_a_column(curves: Sequence[Curve]) -> bool:
    """Return whether the cache found anything on these curves; if not, the sentence says so and a column does not."""
    return any(share(point) for curve in curves for point in curve.figures)


def cache_cell(repeats: Sequence[PointFigures]) -> str:
    """Return the share of prompt tokens found, over the repeats of one load."""
    caches = [repeat.summary.prefix_cache for repeat in repeats if repeat.summary.prefix_cache]
    prompt_tokens = sum(cache.prompt_tokens for cache in caches)
    return f"{sum(cache.found_tokens for cache in caches) / prompt_tokens:.0%}" if prompt_tokens else "-"


def cache_verdict(curve: Curve) -> Iterator[str]:
    levels = curve.cache
    if not levels:
        return
    least, most = (pick(level.share for level in levels) for pick in (min, max))
    if loss := cache_loss(levels):
        yield loss_verdict(loss, curve.unit)
    elif f"{least:.0%}" == f"{most:.0%}":
        yield f"Prefix cache hit rate: {most:.0%} of the prompt tokens at every load."
    else:
        yield f"Prefix cache hit rate: {least:.0%} to {most:.0%} of the prompt tokens, depending on the load."


def loss_verdict(loss: CacheLoss, unit: str) -> str:
    lower = [loss.first] * (loss.first is not loss.last) + [loss.last]
    then = " and ".join(f"{level.share:.0%} at {level.load:g}" for level in lower)
    best = f"{loss.kept.share:.0%} of the prompt tokens at {level_words(loss.kept.load, unit)}"
    return (
        f"Prefix cache hit rate: {best}, {then}. The pool was full, and unused prefixes were evicted. Prompt tokens "
        f"computed again because of that are {loss.computed_again:.0%} of all tokens scheduled at {loss.last.load:g} "
        "(the fall of the hit rate x prompt tokens / scheduled tokens); they are not counted as preemptions."
    )


def cache_chart(xs: Sequence[float], curves: Sequence[Curve]) -> Iterator[Lines]:
    series = [
        Series(
            curve.named("hit rate"), **over_loads(xs, curve.figures, share, 100, most=1), style="both", colour=number
        )
        for number, curve in enumerate(curves)
        if worth_a_column([curve])
    ]
    if series:
        note = "Share of the prompt tokens found when their request was first admitted; the rest was computed."
        axes = [Axis("hit rate", "%")]
        yield Lines("Prefix cache hit rate", note, load_axis(curves[0].unit), axes, list(xs), series)
