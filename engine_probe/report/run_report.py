"""The report of one run, and the sections that each point of a sweep has in common with it."""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.errors import InputError
from engine_probe.evaluation.money.costs import Money
from engine_probe.recordings.run import Run
from engine_probe.report.charts.requests import request_charts
from engine_probe.report.charts.run import load_charts, origin_ns, stall_charts, step_charts
from engine_probe.report.charts.telemetry import telemetry_charts
from engine_probe.report.document import SURE, Document, Picture, Section, says
from engine_probe.report.sections.load.prediction import document_title, sources_section, with_prediction
from engine_probe.report.sections.money.section import money_section
from engine_probe.report.sections.run.ceilings import ceilings_section
from engine_probe.report.sections.run.collectives import collectives_section
from engine_probe.report.sections.run.gpu_health import activity_words, health_section, reduced_strip
from engine_probe.report.sections.run.graphs import graphs_section
from engine_probe.report.sections.run.inside_the_step import inside_section
from engine_probe.report.sections.run.latencies import judgements, latency_table
from engine_probe.report.sections.run.memory import memory_section
from engine_probe.report.sections.run.operators import operators_section
from engine_probe.report.sections.run.quality import quality_section
from engine_probe.report.sections.run.roofline import roofline_section
from engine_probe.report.sections.run.speculation import speculation_section
from engine_probe.report.sections.run.stalls import stalls_section
from engine_probe.report.sections.run.verdict import (
    limit_sentences,
    limit_table,
    longest_preempted,
    reason_table,
    run_verdict,
)
from engine_probe.report.sections.sessions import sessions_section
from engine_probe.report.sections.settings import settings_section

POINTS = 4000  # moments of a line; shared by the points of a sweep


def run_document(run: Run, found: RunAnalysis, money: Money | None = None) -> Document:
    verdict, *sections = run_sections(run, found, POINTS)
    verdict = with_prediction(verdict, [run])
    paid = [money_section(money)] if money else []
    settings = settings_section({"": run}), ceilings_section(run.facts)
    return Document(
        document_title(run.model_name, [run]),
        origin(run),
        verdict,
        (quality_section(run), *sections, sources_section([run]), *paid, *settings),
    )


def origin(run: Run) -> str:
    return f"{recorded_words(run)} in {run.folder}"


def recorded_words(run: Run) -> str:
    """Say with which vLLM a run was recorded or predicted, and when."""
    versions, clock = run.facts["versions"], run.facts["clock"]
    how = "predicted " if run.predicted else ""
    return f"vLLM {versions['vllm']} ({versions['distribution']}), {how}{clock['wall'][:16].replace('T', ' ')} UTC"


def run_sections(run: Run, found: RunAnalysis, points: int) -> tuple[Section, ...]:
    """Return the verdict of a run of at least one step, its limits, latencies and steps, and the hardware."""
    name = run.folder.name
    return (
        run_verdict(found),
        Section(
            "Bottlenecks",
            sentences=says(limit_sentences(found)),
            charts=partial(load_charts, run, found.limits, name, points),
            tables=(limit_table(found), *reason_table(found)),
        ),
        Section(
            "Latencies",
            charts=partial(request_charts, run, name, points),
            tables=(latency_table(found.summary),),
            parts=(longest_preempted(found.preemption_cost),),
            details=(Section(SURE, sentences=tuple(judgements(found.summary))),),
            shown="always",
        ),
        sessions_section([("", run)]),
        Section("Steps", charts=partial(step_charts, run, name, points)),
        inside_section(found.phases, found.device, run.facts),
        collectives_section(found.collectives, run.facts),
        operators_section(found.operators, run.facts),
        graphs_section(found.graphs),
        speculation_section(found.speculation),
        stalls_section(run, found.stalls, partial(stall_charts, run, found.stalls, name)),
        roofline_section(found.roofline, activity_words([run])),
        memory_section(run.facts, found.summary),
        hardware_section(run),
    )


def hardware_section(run: Run) -> Section:
    """Return the health of the GPUs and the telemetry charts; if telemetry is damaged, a caution instead."""
    try:
        telemetry = run.telemetry
    except InputError as error:
        return Section("GPU health during the run", sentences=says([str(error)], "caution"))
    return health_section([run], partial(hardware_charts, run, telemetry))


def hardware_charts(run: Run, telemetry: pa.Table) -> Iterator[Picture]:
    yield from reduced_strip(telemetry, origin_ns(run), run.folder.name)
    yield from telemetry_charts(telemetry, origin_ns(run), run.folder.name)
