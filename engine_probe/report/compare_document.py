"""The reports of a comparison and of a trend: bounds and verdict, what changed where, and every point."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from engine_probe.analysis.compare.gates import Gate
from engine_probe.evaluation.comparison import Comparison
from engine_probe.evaluation.pareto import same_work
from engine_probe.evaluation.trend import TIME, VLLM, TrendOver
from engine_probe.report.charts.compare import compare_charts
from engine_probe.report.document import Document, Section, says
from engine_probe.report.sections.compare.change_words import short_names
from engine_probe.report.sections.compare.changes import changes_section, each_point, metric_names, side_by_side
from engine_probe.report.sections.compare.trend import METHOD, points_section, trend_charts, trend_verdict
from engine_probe.report.sections.compare.verdict import compare_verdict
from engine_probe.report.sections.pareto import pareto_section, pareto_verdict

AXES = {TIME: "over time", VLLM: "over versions of vLLM"}


def compare_document(found: Sequence[Comparison], gates: Sequence[Gate]) -> Document:
    """Return each measurement against the first; several stand side by side."""
    before, names = found[0].before, short_names([found[0].before, *(each.after for each in found)])
    alone = len(found) == 1
    titles = ["" if alone else f"{name} against {names[0]}" for name in names[1:]]
    verdicts = [compare_verdict(each, gates, title) for each, title in zip(found, titles, strict=True)]
    whole = verdicts[0] if alone else Section(parts=tuple(verdicts), shown="always")
    changes = [changes_section(found[0]), each_point(found[0])] if alone else list(side_by_side(found, names))
    charts = Section("Over the load", charts=partial(compare_charts, found, names))
    sweeps = [*found[0].sweeps[:1], *(each.sweeps[-1] for each in found if each.sweeps)]
    works = same_work(*sweeps, names=names) if len(sweeps) == len(names) else []
    whole = replace(whole, sentences=(*whole.sentences, *pareto_verdict(works)))
    return Document(
        f"{', '.join(names[1:])} against {names[0]}",
        f"before: {before}; after: {', '.join(each.after for each in found)}",
        whole,
        (changes[0], charts, pareto_section(works), *changes[1:], metric_names(found)),
    )


def trend_document(found: TrendOver, gates: Sequence[Gate]) -> Document:
    first, last = found.occasions[0], found.occasions[-1]
    verdict = replace(trend_verdict(found, gates), charts=partial(trend_charts, found))
    compared = changes_section(found.last)
    title = f"The last against those before: {found.last.after} against {found.last.before}"
    method = Section("How a change is found", sentences=says([METHOD], "soft"))
    return Document(
        f"{len(found.occasions)} measurements {AXES.get(found.axis, 'by label')}",
        f"from {first.label} ({first.name}) to {last.label} ({last.name})",
        verdict,
        (points_section(found), Section(title, parts=(compared, each_point(found.last))), method),
    )
