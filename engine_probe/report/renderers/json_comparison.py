"""The figures of comparisons and trends as JSON: the changes of each metric, and what gates decided."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from engine_probe.analysis.compare.changes import Change
from engine_probe.analysis.compare.gates import Gate
from engine_probe.analysis.compare.trend import Trend
from engine_probe.evaluation.comparison import Comparison
from engine_probe.evaluation.pareto import figures as pareto_figures
from engine_probe.evaluation.trend import TrendOver
from engine_probe.report.renderers.json_parts import picked


def comparison_figures(found: Sequence[Comparison], gates: Sequence[Gate]) -> str:
    return json.dumps([comparison_facts(each, gates) for each in found], indent=1)


def trend_figures(found: TrendOver, gates: Sequence[Gate]) -> str:
    """Return the figures of a trend: each over the occasions, its changes, and the last against those before."""
    return json.dumps(
        {
            "kind": "trend",
            "axis": found.axis,
            "occasions": [asdict(occasion) for occasion in found.occasions],
            "together": [trend_facts(trend) for trend in found.together] or None,
            "points": {name: [trend_facts(trend) for trend in trends] for name, trends in found.points.items()},
            "settings": found.settings,
            "last": comparison_facts(found.last, gates),
        },
        indent=1,
    )


def trend_facts(trend: Trend) -> dict[str, Any]:
    return {
        "metric": trend.metric.name,
        **picked(trend.metric, "unit", "better"),
        **picked(trend, "values", "intervals", "tested"),
        "changes": [
            {
                "between": [shift.at - 1, shift.at],
                **picked(shift, "before", "after", "relative", "p"),
                "verdict": "worse" if trend.is_worse(shift) else "better",
            }
            for shift in trend.shifts
        ],
    }


def comparison_facts(comparison: Comparison, gates: Sequence[Gate]) -> dict[str, Any]:
    points = [
        {"point": pair.name, "changes": [{**change_facts(each), "repeats": each.repeats} for each in pair.changes]}
        for pair in comparison.pairs
    ]
    held = [{"gate": each.gate.text, **picked(each, "point", "answer", "p", "said")} for each in comparison.held(gates)]
    whole = comparison.together
    return {
        **picked(comparison, "before", "after", "occasions", "earlier"),
        "together": [change_facts(change) for change in whole.changes] if whole else None,
        "points": points,
        "pareto": pareto_figures(comparison.same_work),
        "gates": held,
        "notes": comparison.notes,
    }


def change_facts(change: Change) -> dict[str, Any]:
    return {
        "metric": change.metric.name,
        **picked(change.metric, "unit", "better"),
        **picked(change, "before", "after", "relative", "interval"),
        "interval_includes_drift": bool(change.earlier) or change.p is not None,
        **picked(change, "p", "verdict"),
    }
