"""What the prefix cache spares at each load, in a column, a sentence and a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.run.prefix_cache import CacheLoss, cache_loss
from engine_probe.report.charts.levels import over_loads
from engine_probe.report.charts.model import Axis, Lines, Series, load_axis

if TYPE_CHECKING:
    from engine_probe.recordings.curve import Curve


def share(point: PointFigures) -> float | None:
    return point.summary.prefix_cache.share if point.summary.prefix_cache else None


def worth_a_column(curves: Sequence[Curve]) -> bool:
    """A cache that is on and never finds anything is one sentence."""
    return any(share(each) for curve in curves for each in curve.figures)


def cache_cell(same: Sequence[PointFigures]) -> str:
    """Of one load, over its repeats."""
    known = [each.summary.prefix_cache for each in same if each.summary.prefix_cache]
    prompt = sum(each.prompt_tokens for each in known)
    return f"{sum(each.found_tokens for each in known) / prompt:.0%}" if prompt else "-"


def cache_verdict(curve: Curve) -> Iterator[str]:
    levels = curve.cache
    if not levels:
        return
    least, most = (pick(level.share for level in levels) for pick in (min, max))
    if loss := cache_loss(levels):
        yield loss_verdict(loss, curve.unit)
    elif f"{least:.0%}" == f"{most:.0%}":
        yield f"The prefix cache found {most:.0%} of the prompt tokens at every load."
    else:
        yield f"The prefix cache found {least:.0%} to {most:.0%} of the prompt tokens, by load."


def loss_verdict(loss: CacheLoss, unit: str) -> str:
    falls = [loss.first] * (loss.first is not loss.last) + [loss.last]
    then = " and ".join(f"{level.share:.0%} at {level.load:g}" for level in falls)
    return (
        f"The prefix cache found {loss.kept.share:.0%} of the prompt tokens at {loss.kept.load:g} {unit}, {then}: the "
        "pool was full, and prefixes that nobody was using gave way. Prompts computed again for it are "
        f"{loss.computed_again:.0%} of all tokens scheduled at {loss.last.load:g} (the fall in the share x prompt "
        "tokens / scheduled tokens); no preemption counts them."
    )


def cache_chart(xs: Sequence[float], drawn: Sequence[Curve]) -> Iterator[Lines]:
    known = [(number, curve) for number, curve in enumerate(drawn) if worth_a_column([curve])]
    if known:
        yield Lines(
            "Found in the prefix cache",
            "Share of the prompt tokens that were there when their request was first admitted; the rest was computed.",
            load_axis(drawn[0].unit),
            [Axis("prompt tokens found", "%")],
            list(xs),
            [
                Series(
                    curve.named("found"), **over_loads(xs, curve.figures, share, 100, most=1), style="both", colour=n
                )
                for n, curve in known
            ],
        )
