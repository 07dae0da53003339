"""Perplexity against throughput: a dot for each engine."""

from collections.abc import Iterator, Sequence

from engine_probe.evaluation.precision import Engine
from engine_probe.evaluation.published.reference import Reference
from engine_probe.report.charts.model import Axis, Lines, Series
from engine_probe.report.charts.published import PUBLISHED_COLOUR


def trade(found: Sequence[Engine], reference: Reference | None) -> Iterator[Lines]:
    """Yield the chart; each engine is relative to the first one, published figures to their own first one."""
    dots: list[tuple[str, float, float, tuple[float, float] | None]] = []
    for number, engine in enumerate(found):
        change = 0.0 if number == 0 else engine.change.relative if engine.change else None
        if engine.relative_rate is not None and change is not None:
            interval = engine.change.relative_interval if engine.change else None
            dots.append((engine.name, engine.relative_rate, change, interval))
    if len(dots) < 2:
        return
    published = reference.precisions if reference else []
    for figure in published:
        change = figure.perplexity / published[0].perplexity - 1
        dots.append((f"published: {figure.name}", figure.throughput, change, None))
    xs = sorted({x for _, x, *_ in dots})

    def at(place: float, value: float | None) -> list[float | None]:
        return [None if value is None or x != place else 100 * value for x in xs]

    yield Lines(
        title="Perplexity against throughput",
        note=f"Relative to {found[0].name}, throughput at the best load of each; bars: 95 % over the same windows.",
        x=Axis("output tokens/s, relative"),
        y=[Axis("change of perplexity", "%")],
        xs=list(xs),
        series=[
            Series(
                name,
                at(x, change),
                0,
                "dots",
                PUBLISHED_COLOUR if number >= len(dots) - len(published) else number,
                low=at(x, ends[0]) if ends else [],
                high=at(x, ends[1]) if ends else [],
            )
            for number, (name, x, change, ends) in enumerate(dots)
        ],
    )
