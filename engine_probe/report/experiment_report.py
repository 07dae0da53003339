"""The report of several sweeps as one experiment: what each curve comes to, common charts, published figures, costs."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from engine_probe.evaluation.pareto import same_work
from engine_probe.evaluation.published.published_comparison import beside
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.experiment import Experiment
from engine_probe.report.charts.experiment.across_curves import across_charts
from engine_probe.report.charts.published import all_beside
from engine_probe.report.charts.sweep import charts_over_load, slo_charts, throughput_charts
from engine_probe.report.document import Document, Section
from engine_probe.report.sections.cluster.verdict import cluster_section
from engine_probe.report.sections.experiment.verdict import experiment_verdict
from engine_probe.report.sections.load.prediction import document_title, with_prediction
from engine_probe.report.sections.pareto import pareto_section, pareto_verdict
from engine_probe.report.sections.run.gpu_health import health_section
from engine_probe.report.sections.settings import LOADS, settings_section
from engine_probe.report.sections.sweep.lengths.growth import growth_section
from engine_probe.report.sections.sweep.lengths.streaming import streaming_section
from engine_probe.report.sections.sweep.levels import level_tables
from engine_probe.report.sections.sweep.raised_limits import raised_section
from engine_probe.report.sweep_report import Evaluation, evaluation_sections
from engine_probe.text_format import counted

ALONE = Evaluation()  # without costs and published figures


def experiment_document(experiment: Experiment, curves: Sequence[Curve], evaluation: Evaluation = ALONE) -> Document:
    """Return the report; the points themselves are in the reports of the sweeps."""
    swept, reference = experiment.together, evaluation.reference
    if swept.clusters:  # points of several engines make no curve of one
        curves = [curve for curve in curves if curve.figures]
    published = beside(reference, swept, curves) if reference else []
    with_published = partial(all_beside, published)
    runs, works, growth = swept.first_runs, same_work(swept), growth_section(curves)
    sections = (
        *([cluster_section(swept)] if swept.clusters else []),
        Section("Across the curves", charts=lambda: with_published(across_charts(swept, curves))),
        replace(growth, sentences=()),
        streaming_section(curves),
        pareto_section(works),
        raised_section(curves),
        Section("Over the load", charts=lambda: with_published((*slo_charts(curves), *charts_over_load(curves)))),
        Section(details=(Section("Each level", tables=level_tables(curves)),)),
        health_section(swept.runs),
        *evaluation_sections(evaluation, published, swept, curves),
        *([settings_section(runs, LOADS)] if runs else []),
    )
    notable = [curve for curve in curves if curve.worth_words or not growth.sentences]
    verdict = experiment_verdict(experiment, curves, runs, lambda: with_published(throughput_charts(curves)), notable)
    verdict = replace(verdict, sentences=(*verdict.sentences, *growth.sentences, *pareto_verdict(works)))
    verdict = with_prediction(verdict, swept.runs)
    return Document(document_title(experiment.title, swept.runs), experiment_origin(experiment), verdict, sections)


def experiment_origin(experiment: Experiment) -> str:
    counts = f"{counted(len(experiment.together.points), 'point')} of {counted(len(experiment.sweeps), 'sweep')}"
    return f"{counts} in {experiment.together.folder}: {', '.join(experiment.sweeps)}"
