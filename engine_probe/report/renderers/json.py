"""The figures of a report as JSON: each metric by its name, with its unit and formula."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import msgspec

from engine_probe.analysis.batch.prediction_interval import figure_of
from engine_probe.analysis.compare.changes import METRICS, PERPLEXITY, Metric
from engine_probe.analysis.compare.engine_metrics import ENGINE_METRICS
from engine_probe.analysis.curve.held_load import HELD_RATE
from engine_probe.analysis.curve.levels import PointFigures, by_load, held_rate, measured_in_rounds, while_held
from engine_probe.analysis.curve.regions import MEANINGS
from engine_probe.analysis.curve.slo_capacity import most_load
from engine_probe.analysis.money.metrics import MONEY
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.sessions.turns import may_have_turns, sessions
from engine_probe.analysis.statistics.level_noise import over_levels
from engine_probe.analysis.statistics.repeats import Repeated
from engine_probe.analysis.step.ceiling_use import uses
from engine_probe.analysis.step.stalls import Stalls
from engine_probe.evaluation.advice import advised
from engine_probe.evaluation.integrity import figures as integrity_figures
from engine_probe.evaluation.integrity import integrity
from engine_probe.evaluation.money.costs import Money
from engine_probe.evaluation.pareto import figures as pareto_figures
from engine_probe.evaluation.pareto import same_work
from engine_probe.evaluation.precision import ScoredEngine, engines
from engine_probe.recordings.argument_trials import trials_of
from engine_probe.recordings.cluster import Cluster
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.experiment import Experiment
from engine_probe.recordings.forward_passes import ForwardPasses
from engine_probe.recordings.run import Run
from engine_probe.recordings.suite import Suite
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.charts.lengths import OverLength, fitted_lines
from engine_probe.report.charts.level_means import intervals, throughput
from engine_probe.report.renderers.json_parts import accounted, picked, run_quality, sweep_quality
from engine_probe.report.sections.run.ceilings import ceiling_warnings
from engine_probe.report.sections.slo import curve_offers

JSON_NAMES = {"near_peak": "steadiness", "after_warm_up": "steady", "after_warm_up_latencies": "steady_latencies"}
WHOLE_RUN_RATE = "output_tokens_per_s"  # the name of its metric


def pass_figures(passes: ForwardPasses) -> bytes:
    """Return the figures of a forward-pass trace."""
    return msgspec.json.format(msgspec.json.encode({**asdict(passes.summary()), "notes": passes.notes}))


def run_figures(run: Run, found: RunAnalysis, money: Money) -> bytes:
    return encoded(
        {
            "kind": "run",
            "folder": str(run.folder),
            "predicted": run.predicted,
            "metrics": described(money),
            "summary": summary_figures(found.summary),
            "figures": figures_of(found),
            "limited_by": found.limits.shares,
            **predicted_terms(found.limits.terms),
            "hardware_use": hardware_use(found),
            "stalls": stalled(found.stalls),
            "operators": found.operators,
            **run_quality(run),
            **session_figures(run),
            "money": accounted(money),
        }
    )


def predicted_terms(terms: Mapping[str, float]) -> dict[str, Any]:
    """Return the terms of predicted steps as shares of the busy time; no key of a measured run."""
    return {"predicted_terms": terms} if terms else {}


def sweep_integrity(swept: Swept) -> dict[str, Any]:
    """Return how answers compare over the load; no key if none were compared."""
    found = integrity(swept)
    return {"integrity": [integrity_figures(curve) for curve in found]} if found else {}


def stalled(found: Stalls) -> dict[str, Any]:
    """Return every stall, and how many steps were judged."""
    return {
        "steps_judged": found.judged,
        "steps_not_judged": found.not_judged,
        "excess_ns": found.excess_ns,
        "busy_ns": found.busy_ns,
        "steps": found.table.to_pylist(),
    }


def summary_figures(summary: Summary) -> dict[str, Any]:
    """Return the summary under the names that this JSON has always had."""
    hidden = ("prices", "within")  # `money` and `intervals` have them
    names = [field.name for field in fields(summary) if field.name not in hidden]
    return {JSON_NAMES.get(name, name): getattr(summary, name) for name in names} | predicted_intervals(summary)


def predicted_intervals(summary: Summary) -> dict[str, Any]:
    """Return the interval of each predicted metric: nine of ten measurements. No key if nothing was predicted."""
    if not summary.within:
        return {}
    named = [(metric, figure) for metric in METRICS if (figure := figure_of(metric.name))]
    return {"intervals": {metric.name: summary.interval(figure, metric.value(summary)) for metric, figure in named}}


def figures_of(found: RunAnalysis) -> dict[str, float | None]:
    """Return the figures of one run by metric name; `metrics` has their units and formulas."""
    from_summary = {metric.name: metric.value(found.summary) for metric in METRICS}
    return from_summary | {metric.name: metric.value(found) for metric in ENGINE_METRICS}


def hardware_use(found: RunAnalysis) -> dict[str, Any]:
    """Return the shares of the measured ceilings, which of them are impossible, and what is therefore withheld."""
    if isinstance(found.roofline, str):
        return {"reason": found.roofline}
    return {
        "clock": found.roofline.clock,
        "shares": [
            {**picked(use, "name", "steps", "share", "ceiling"), "impossible": use.is_above}
            for use in uses(found.roofline)
        ],
        "warnings": list(ceiling_warnings(found.roofline)),
        "withheld": found.limits.withheld or None,
    }


def sweep_figures(swept: Swept, curves: Sequence[Curve], money: Money) -> bytes:
    return encoded(
        {
            "kind": "sweep",
            "folder": str(swept.folder),
            "predicted": any(run.predicted for run in swept.runs),
            "question": swept.question,
            "metrics": described(money),
            "curves": [curve_figures(curve) for curve in curves],
            "advice": advised(swept, curves),
            "over_lengths": [fitted(line) for line in fitted_lines(curves)],
            "pareto": pareto_figures(same_work(swept)),
            **sweep_integrity(swept),
            "points": [point_figures(point) for point in swept.points],
            **searched(swept),
            "watching": swept.probe_cost,
            **sweep_quality(swept),
            "texts": [predicted(engine) for engine in engines(swept)],
            "money": accounted(money),
        }
    )


def searched(swept: Swept) -> dict[str, Any]:
    """Return the trials of a search over engine arguments, and what it found; empty for another sweep."""
    found = trials_of(swept)
    if found is None:
        return {}
    gain, best = found.gain, found.challenger
    return {
        "argument_search": {
            "unit": found.unit,
            "baseline": found.first.setting,
            "best": best and best.setting,
            "gain": gain and {"relative": gain.relative, "interval": gain.interval},
            "effects": found.effects,
            "trials": [
                {**picked(trial, *(field.name for field in fields(trial))), "feasible": trial.is_feasible}
                for trial in found.trials
            ],
        }
    }


def session_figures(run: Run | None) -> dict[str, Any]:
    """Return the sessions of a run with each of their turns; empty if none has several."""
    found = run and may_have_turns(run.facts) and sessions(run.facts, run.requests, run.answers)
    return {"sessions": {"hits": found.hits, "each": found.sessions, "not_known": found.not_known}} if found else {}


def experiment_figures(experiment: Experiment, curves: Sequence[Curve], money: Money) -> bytes:
    """Return the figures of several sweeps; the id of a point begins with the name of its sweep."""
    together, runs = experiment.together, experiment.together.first_runs
    return encoded(
        {
            "kind": "experiment",
            "predicted": experiment.predicted,
            "title": experiment.title,
            "sweeps": [
                {"name": name, "folder": str(swept.folder), "question": swept.question}
                for name, swept in experiment.sweeps.items()
            ],
            "differences": experiment.differences,
            "metrics": described(money),
            "curves": [{**curve_figures(curve), "engine": engine_size(runs.get(curve.label))} for curve in curves],
            "over_lengths": [fitted(line) for line in fitted_lines(curves)],
            "pareto": pareto_figures(same_work(together)),
            "points": [point_figures(point) for point in together.points],
            "money": accounted(money),
        }
    )


def suite_figures(suite: Suite, money_of: Callable[[Swept, Sequence[Curve]], Money]) -> bytes:
    """Return the state of a suite, and the figures of each of its sweeps by name."""

    def figures_of_sweep(swept: Swept) -> msgspec.Raw:
        lines = curves(swept.points)
        return msgspec.Raw(sweep_figures(swept, lines, money_of(swept, lines)))

    return encoded(
        {
            "kind": "suite",
            "predicted": suite.state.twin is not None,
            "folder": str(suite.folder),
            "suite": suite.state,
            "figures": {name: figures_of_sweep(swept) for name, swept in suite.sweeps.items()},
        }
    )


def engine_size(run: Run | None) -> dict[str, Any] | None:
    """Return the size of a model and of its KV pool; null where it was not recorded."""
    if run is None:
        return None
    return {
        "model": run.model_name,
        "weights_bytes": run.weights_bytes,
        "parameters": run.parameters,
        "kv_capacity_tokens": run.facts["kv"]["blocks"] * run.facts["kv"]["block_size_tokens"],
    }


def fitted(line: OverLength) -> dict[str, Any]:
    """Return the line and the parabola of a latency over the length of prompts or answers."""
    fit = line.fit
    return {
        "latency": line.measure.name,
        "over": f"{line.side.name} tokens",
        **picked(line, "label", "load", "unit"),
        "median_ms": line.by_length,
        "largest_ms": line.largest_ms,
        "line": fit and fit.line,
        "parabola": fit and fit.parabola,
        "bends": fit and fit.bends,
        "largest": line.largest_fit,
    }


def point_figures(point: SweptPoint) -> dict[str, Any]:
    found = point.analysis
    facts: dict[str, Any] = {"name": point.name, "id": point.id, "summary": found and summary_figures(found.summary)}
    facts |= {"figures": figures_of(found), "hardware_use": hardware_use(found)} if found else {"reason": point.reason}
    facts["held"] = point.held
    facts |= session_figures(point.run) if found else {}
    if point.cluster is not None:
        facts["cluster"] = cluster_figures(point.cluster)
    return facts | ({"driver_seconds": point.timed.seconds} if point.timed else {})


def cluster_figures(cluster: Cluster) -> dict[str, Any]:
    """Return the figures of all engines of a point, and each one's own."""
    window = cluster.window
    return {
        **picked(window, "output_tokens_per_s", "output_tokens", "seconds", "held"),
        **picked(cluster, "gpus", "latencies", "success"),
        "engines": [
            {
                "folder": str(engine.run.folder),
                "model": engine.run.model_name,
                "place": engine.place,
                "output_tokens": tokens,
                "output_tokens_per_s": rate,
                "summary": summary_figures(engine.analysis.summary),
            }
            for engine, tokens, rate in zip(cluster.engines, window.tokens, window.rates, strict=True)
        ],
    }


def predicted(engine: ScoredEngine) -> dict[str, Any]:
    """Return how well an engine predicted the text, and the change against the first engine."""
    perplexity, change = engine.text.perplexity, engine.change
    return {
        "id": engine.text.id,
        "name": engine.name,
        "precision": engine.text.measured and engine.text.measured.precision,
        PERPLEXITY.name: perplexity and perplexity.value,
        "interval": perplexity and perplexity.interval,
        "tokens": perplexity and perplexity.tokens,
        "windows": perplexity and perplexity.windows,
        "change": change and {"relative": change.relative, "interval": change.relative_interval, "p": change.p},
        "relative_output_tokens_per_s": engine.relative_rate,
        "relative_weights": engine.relative_weights,
        "kv_tokens": engine.kv_tokens,
        "reason": engine.why_not or ("" if perplexity else engine.text.why_not) or None,
    }


def curve_figures(curve: Curve) -> dict[str, Any]:
    figures = {metric.name: metric_over_levels(metric, curve.figures) for metric in METRICS}
    figures[HELD_RATE[0]] = intervals(curve.figures, held_rate)
    figures[HELD_RATE[0] if while_held(curve.figures) else WHOLE_RUN_RATE] = throughput(curve.figures)
    found = curve.found
    levels = [
        {
            "load": repeats[0].load,
            "region": found.region(repeats[0].load),
            "sureness": found.sureness(repeats[0].load) or None,
            "figures": {name: values[place] for name, values in figures.items()},
        }
        for place, repeats in enumerate(by_load(curve.figures))
    ]
    return {
        **picked(curve, "label", "unit"),
        "levels": levels,
        "regions": {kind: MEANINGS[kind] for kind in (found.growth.shape if found.growth else ())},
        **picked(found, "equilibrium", "saturation"),
        "operating_load": found.operating.load if found.operating and found.noise else None,
        **picked(found, "kv", "notes"),
        "slo": curve.slo,
        "most_load": most_load(curve.figures),
        "measure_next": curve_offers(curve),
    }


def metric_over_levels(metric: Metric, figures: Sequence[PointFigures]) -> list[Repeated | None]:
    """Return a metric at each level. The noise of rates and times is in proportion to them; that of shares is not."""
    figure = figure_of(metric.name)
    if figure and any(point.summary.within for point in figures):
        return intervals(figures, lambda point: metric.value(point.summary), figure)
    measured = [(repeats[0].load, [metric.value(each.summary) for each in repeats]) for repeats in by_load(figures)]
    return over_levels(measured, measured_in_rounds(figures), in_proportion=bool(metric.unit))


def described(money: Money) -> dict[str, dict[str, str]]:
    """Return the unit and formula of every metric."""
    metrics = {metric.name: picked(metric, "unit", "formula") for metric in (*METRICS, PERPLEXITY)}
    metrics |= {metric.name: picked(metric, "unit", "formula") for metric in ENGINE_METRICS}
    metrics[HELD_RATE[0]] = {"unit": HELD_RATE[1], "formula": HELD_RATE[2]}
    return metrics | {
        metric.name: {"unit": metric.unit.format(money.currency), "formula": metric.formula} for metric in MONEY
    }


def encoded(document: dict[str, Any]) -> bytes:
    """Return the document as JSON; NaN and infinity become null."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
