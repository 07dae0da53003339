"""Hardware options over the demand."""

from itertools import pairwise

from engine_probe.evaluation.money.costs import Money
from engine_probe.report.charts.model import Axis, Lines, Series, numbers


def options_chart(found: Money) -> Lines:
    """Return the monthly cost of the cheapest option for each demand."""
    edges = [0.0, *(step.up_to_per_minute for step in found.steps)]
    xs = [edge for pair in pairwise(edges) for edge in pair]
    costs = [step.per_month for step in found.steps for _ in range(2)]
    kinds = list(dict.fromkeys(step.name for step in found.steps))
    names = [step.name for step in found.steps for _ in range(2)]
    pairs = list(zip(costs, names, strict=True))
    values = {kind: numbers([cost if name == kind else None for cost, name in pairs]) for kind in kinds}
    series = [Series(kind, line, 0, "both", number) for number, (kind, line) in enumerate(values.items())]
    note = f"The cheapest by demand, engines of one kind side by side: {', '.join(step.words for step in found.steps)}."
    return Lines(
        "Options by demand",
        note,
        Axis("demand", "requests/min"),
        [Axis("a month", found.currency)],
        numbers(xs),
        series,
    )
