"""Hardware options over the demand."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.money.hardware_options import Step
from engine_probe.evaluation.money.options import Hardware, Steps
from engine_probe.report.charts.model import Axis, Lines, Mark, Series, numbers


def option_charts(found: Hardware) -> Iterator[Lines]:
    """Yield the monthly cost of the cheapest choice over the demand, of options that serve the same."""
    for steps in found.steps:
        if len(steps.sure) > 1:
            yield options_chart(found, steps)


def options_chart(found: Hardware, steps: Steps) -> Lines:
    wanted = found.demand.requests_per_minute if steps.unit == "requests/min" else None
    edges = sorted({*(step.up_to for step in (*steps.sure, *steps.hoped)), *([wanted] if wanted else [])})
    # Each edge twice: where one choice ends and where the next begins.
    places = [(0.0, True), *((edge, after) for edge in edges for after in (False, True))][:-1]
    kinds = list(dict.fromkeys(step.name for step in steps.sure))
    ordered = sorted(steps.sure, key=lambda step: kinds.index(step.name))
    # A series for each step, since a line is drawn across the places where another option is the cheapest.
    series = [
        Series(
            step.name,
            [step.per_month if cheapest_at(steps.sure, *place) is step else None for place in places],
            colour=kinds.index(step.name),
            follows=number > 0 and step.name == ordered[number - 1].name,
        )
        for number, step in enumerate(ordered)
    ]
    if steps.hoped != steps.sure:
        hoped = [step.per_month if (step := cheapest_at(steps.hoped, *place)) else None for place in places]
        series.append(Series("by the upper ends of rates", hoped, style="dashed", colour=5))
    title = f"Options by demand{f' ({steps.serves})' if steps.serves else ''}"
    note = f"The cheapest by the lower ends of rates: {', '.join(step.words for step in steps.sure)}."
    marks = [Mark("demand", wanted)] if wanted and wanted <= edges[-1] else []
    axes = (Axis("demand", steps.unit), [Axis("a month", found.prices.currency)])
    return Lines(title, note, *axes, numbers([edge for edge, _ in places]), series, marks=marks)


def cheapest_at(steps: Sequence[Step], demand: float, after: bool) -> Step | None:
    """Return the cheapest at a demand, or just after it. None if no choice holds that."""
    held = (step for step in steps if demand < step.up_to or (demand == step.up_to and not after))
    return next(held, None)
