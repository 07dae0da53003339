"""What precision costs against what it gives, as a picture: a dot for each engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine_probe.evaluation.precision import Engine
from engine_probe.evaluation.published import Reference
from engine_probe.report.charts.model import Axis, Lines, Series
from engine_probe.report.sections.sweep.published import PUBLISHED_COLOUR


def trade(found: Sequence[Engine], reference: Reference | None) -> Iterator[Lines]:
    """Both at once: to the right is faster, below predicts better; published rows relative to their own first."""
    dots: list[tuple[str, float, float, tuple[float, float] | None]] = []
    for number, each in enumerate(found):
        change = 0.0 if number == 0 else each.change.relative if each.change else None
        if each.relative_rate is not None and change is not None:
            interval = each.change.relative_interval if each.change else None
            dots.append((each.name, each.relative_rate, change, interval))
    if len(dots) < 2:
        return
    published = reference.precisions if reference else []
    for one in published:
        dots.append((f"published: {one.name}", one.throughput, one.perplexity / published[0].perplexity - 1, None))
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
