"""The report of a sweep: where growth ends, advice, and the evidence; on pages also each point."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from engine_probe.analysis.compare.argument_trials import ArgumentTrials
from engine_probe.analysis.compare.load_effect import Effects
from engine_probe.evaluation.advice import advised
from engine_probe.evaluation.integrity import integrity, sampled_runs
from engine_probe.evaluation.money.costs import Money
from engine_probe.evaluation.pareto import same_work
from engine_probe.evaluation.published.claims import Evidence, judged_claims
from engine_probe.evaluation.published.published_comparison import Beside, beside
from engine_probe.evaluation.published.reference import Reference
from engine_probe.evaluation.quality import CurveQuality, curve_qualities, with_accuracy
from engine_probe.evaluation.scores import Scores
from engine_probe.recordings.argument_trials import trials_of
from engine_probe.recordings.cluster_levels import cluster_levels
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept, slo_of_search
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.charts.experiment.across_curves import across_charts
from engine_probe.report.charts.model import Chart
from engine_probe.report.charts.money import money_charts
from engine_probe.report.charts.published import all_beside
from engine_probe.report.charts.sweep import slo_charts, sweep_charts, throughput_charts
from engine_probe.report.document import Document, Section, says
from engine_probe.report.run_report import POINTS, recorded_words, run_sections
from engine_probe.report.sections.argument_search import search_sections
from engine_probe.report.sections.cluster.published import published_clusters
from engine_probe.report.sections.cluster.verdict import cluster_verdict
from engine_probe.report.sections.load.makespan import burst_charts, burst_section
from engine_probe.report.sections.load.prediction import document_title, sources_section, with_prediction
from engine_probe.report.sections.load.users import users_section
from engine_probe.report.sections.money.section import money_section
from engine_probe.report.sections.pareto import pareto_section, pareto_verdict
from engine_probe.report.sections.run.ceilings import ceilings_section, sweep_doubts
from engine_probe.report.sections.run.gpu_health import health_section
from engine_probe.report.sections.sessions import sessions_section
from engine_probe.report.sections.settings import LOADS, settings_section
from engine_probe.report.sections.slo import commands, offers
from engine_probe.report.sections.sweep.advice import advice_section
from engine_probe.report.sections.sweep.claims import claims_section
from engine_probe.report.sections.sweep.integrity import asked_verdicts, integrity_sections, sampled_section
from engine_probe.report.sections.sweep.lengths.growth import growth_section
from engine_probe.report.sections.sweep.lengths.streaming import streaming_section
from engine_probe.report.sections.sweep.load_effect import effect_section, load_effects
from engine_probe.report.sections.sweep.precision import precision_section
from engine_probe.report.sections.sweep.published import reference_section
from engine_probe.report.sections.sweep.quality import curve_quality_section
from engine_probe.report.sections.sweep.raised_limits import raised_section
from engine_probe.report.sections.sweep.speculation import speculation_sections
from engine_probe.report.sections.sweep.verdict import sweep_verdict
from engine_probe.text_format import counted

LEAST_POINTS = 300


@dataclass(frozen=True)
class Evaluation:
    """What a sweep is evaluated with: a price list, published figures, and scores of its answers."""

    money: Money | None = None
    reference: Reference | None = None
    scores: Scores | None = None


def sweep_document(swept: Swept, curves: Sequence[Curve], evaluation: Evaluation = Evaluation()) -> Document:
    if (found := trials_of(swept)) is not None:
        return search_document(swept, found)
    reference = evaluation.reference
    if swept.clusters:  # points of several engines make no curve of one
        curves = [curve for curve in curves if curve.figures]
    published = beside(reference, swept, curves) if reference else []
    with_published = partial(all_beside, published)
    qualities = curve_qualities(swept)
    scores = with_accuracy(evaluation.scores, qualities)
    tested = {curve.label: load_effects(swept.curves[curve.label], scores) for curve in curves}
    growth, works = growth_section(curves), same_work(swept)
    compared, for_answers = integrity(swept), bool(swept.asked.get("check_integrity"))
    answers = (*integrity_sections(compared), sampled_section(sampled_runs(swept)))
    sections = (
        *(replace(section, asked=True) for section in answers if for_answers),
        *claim_sections(swept, reference, tested, qualities),
        *(curve_quality_section(found, label) for label, found in qualities.items()),
        replace(growth, sentences=()),
        streaming_section(curves),
        raised_section(curves),
        pareto_section(works),
        precision_section(swept, reference),
        *(() if for_answers else answers),
        advice_section(advised(swept, curves)),
        Section("What to measure next", sentences=tuple(commands(swept, curves))),
        Section("Over the load", charts=lambda: with_published(load_charts(swept, curves))),
        burst_section(curves),
        users_section(swept, curves),
        *(effect_section(found, label) for label, found in tested.items()),
        *speculation_sections(curves),
        sessions_section([(name, each.run) for name, each in named_levels(swept.points) if each.analysis]),
        health_section(swept.runs),
        *evaluation_sections(evaluation, published, swept, curves),
    )
    if swept.clusters:
        verdict = cluster_verdict(swept)
    else:
        verdict = sweep_verdict(swept, curves, lambda: with_published(throughput_charts(curves)))
        first = asked_verdicts(compared) if for_answers else ()
        after = (*growth.sentences, *pareto_verdict(works), *offers(curves))
        verdict = replace(verdict, sentences=(*first, *verdict.sentences, *after))
    analysed = [point.run for point in swept.points if point.run is not None and point.analysis is not None]
    title, verdict = document_title(swept.question, analysed), with_prediction(verdict, analysed)
    return Document(title, sweep_origin(swept), verdict, sections)


def evaluation_sections(
    evaluation: Evaluation, published: Sequence[Beside], swept: Swept, curves: Sequence[Curve]
) -> Iterator[Section]:
    """Yield what is published of the same, and what it costs; nothing that was not asked for."""
    if (reference := evaluation.reference) is not None:
        yield reference_section(reference, published, curves, swept.runs)
        yield from published_clusters(reference, cluster_levels(swept))
    if (money := evaluation.money) is not None:
        yield replace(money_section(money), charts=partial(money_charts, money))


def search_document(swept: Swept, found: ArgumentTrials) -> Document:
    """Return the document of a search over engine arguments, which has one load and no curves."""
    verdict, *sections = search_sections(found, slo_of_search(swept.asked))
    cautions = tuple(says(sweep_doubts([point.analysis for point in swept.points if point.analysis]), "caution"))
    verdict = replace(verdict, sentences=(*cautions, *verdict.sentences))
    return Document(swept.question, sweep_origin(swept), verdict, (*sections, health_section(swept.runs)))


def claim_sections(
    swept: Swept, reference: Reference | None, tested: Mapping[str, Effects], qualities: Mapping[str, CurveQuality]
) -> Iterator[Section]:
    """Yield the published claims beside what each curve shows of them."""
    for label, effects in tested.items() if reference else ():
        assert reference is not None
        evidence = Evidence(swept.curves[label], effects, qualities.get(label))
        yield claims_section(reference, judged_claims(reference.claims, evidence), label)


def sweep_page_document(swept: Swept, curves: Sequence[Curve], evaluation: Evaluation = Evaluation()) -> Document:
    """Return the document with each point and the settings, which only pages have room for."""
    document = sweep_document(swept, curves, evaluation)
    engines = swept.first_runs
    if not engines:
        return document
    runs = list(engines.values())
    below = (
        each_point(swept),
        sources_section(runs),
        settings_section(engines, LOADS),
        ceilings_section(runs[0].facts),
    )
    return replace(document, sections=(*document.sections, *below))


def sweep_origin(swept: Swept) -> str:
    below = f"{counted(len(swept.points), 'point')} in {swept.folder}"
    if not swept.runs:
        return below
    models = ", ".join(dict.fromkeys(run.model_name for run in swept.first_runs.values()))
    return f"{below}; {models}, {recorded_words(swept.runs[0])}"


def load_charts(swept: Swept, curves: Sequence[Curve]) -> Iterator[Chart]:
    """Yield the charts over the load, except the verdict's."""
    yield from (*slo_charts(curves), *sweep_charts(swept, curves), *burst_charts(curves), *across_charts(swept, curves))


def each_point(swept: Swept) -> Section:
    """Return the points in the order of their curves and loads, folded."""
    measured = [point for point in swept.points if point.analyses]
    places = {label: place for place, label in enumerate(swept.curves)}
    ordered = sorted(measured, key=lambda point: (places[point.label], point.load))
    points = max(LEAST_POINTS, POINTS // max(1, len(swept.runs)))
    return Section(
        "Each point", details=tuple(point_section(point, measured, points) for point in ordered), shown="page"
    )


def point_section(point: SweptPoint, measured: Sequence[SweptPoint], points: int) -> Section:
    title = point_title(point, measured)
    if point.run is None or point.analysis is None:
        return Section(title, details=tuple(engine_sections(point, points)), shown="page")
    return Section(title, parts=run_sections(point.run, point.analysis, points), shown="page")


def engine_sections(point: SweptPoint, points: int) -> Iterator[Section]:
    """Yield a section for each engine of a point that several measured."""
    for engine in point.cluster.engines if point.cluster else ():
        title = f"engine {engine.number}: {engine.run.model_name}, {engine.place}"
        yield Section(title, parts=run_sections(engine.run, engine.analysis, points), shown="page")


def named_levels(points: Sequence[SweptPoint]) -> Iterator[tuple[str, SweptPoint]]:
    """Yield the points with the names of their levels, without the load if all have the same."""
    alike = len({(point.load, point.unit) for point in points}) == 1
    for point in points:
        yield (point.name.removeprefix(f"{point.load_name}, ") if alike else point.name), point


def point_title(point: SweptPoint, points: Sequence[SweptPoint]) -> str:
    """Return the name of a point, with the number of the repeat if there are several."""
    repeats = [other.id for other in points if other.name == point.name]
    return point.name if len(repeats) == 1 else f"{point.name}, {repeats.index(point.id) + 1} of {len(repeats)}"
