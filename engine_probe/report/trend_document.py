"""The report of a trend: what changed where, the figures over the axis, and the last against those before."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from engine_probe.analysis.compare.gates import Gate
from engine_probe.evaluation.trend import TIME, VLLM, TrendOver
from engine_probe.report.charts.experiment.trend import trend_charts
from engine_probe.report.document import Document, Section
from engine_probe.report.sections.compare.changes import changes_section, each_point
from engine_probe.report.sections.compare.trend import method_section, points_section, trend_verdict

AXES = {TIME: "over time", VLLM: "over versions of vLLM"}


def trend_document(found: TrendOver, gates: Sequence[Gate]) -> Document:
    first, last = found.occasions[0], found.occasions[-1]
    verdict = replace(trend_verdict(found, gates), charts=partial(trend_charts, found))
    compared = changes_section(found.last)
    title = f"The last against those before: {found.last.after} against {found.last.before}"
    return Document(
        f"{len(found.occasions)} measurements {AXES.get(found.axis, 'by label')}",
        f"from {first.label} ({first.name}) to {last.label} ({last.name})",
        verdict,
        (points_section(found), Section(title, parts=(compared, each_point(found.last))), method_section()),
    )
