"""The verdict of an experiment: for each curve one sentence and one row, with where the pool fills and growth ends."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.saturation import KvSaturation, Level
from engine_probe.analysis.statistics.repeats import rate_and_reach
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.experiment import Experiment
from engine_probe.recordings.run import Run
from engine_probe.report.charts.level_means import intervals, limits_cell, throughput_at
from engine_probe.report.document import Cell, Column, Picture, Section, Sentence, Table, says, table, without_empty
from engine_probe.report.sections.sweep.verdict import failure_words, sweep_cautions
from engine_probe.text_format import byte_size, capitalized, duration, rate_words
from engine_probe.workload.load import level_words

COLUMNS = (
    Column("curve", words=True),
    Column("weights", room="spare"),
    Column("parameters", room="spare"),
    Column("KV capacity, tokens", short="KV pool,\ntokens"),
    Column("KV pool full at", short="pool\nfull at"),
    Column("saturation point", short="satu-\nration"),
    Column("highest output tokens/s", short="highest\ntokens/s"),
    Column("at"),
    Column("TTFT p50 there", short="TTFT\np50"),
    Column("TPOT p50 there", short="TPOT\np50"),
    Column("bottleneck there", words=True, short="\nbottleneck"),
)
NOTE = "TTFT, TPOT and the bottleneck are those at the load with the highest throughput."


def experiment_verdict(
    experiment: Experiment,
    curves: Sequence[Curve],
    runs: dict[str, Run],
    charts: Callable[[], Iterable[Picture]],
    told: Sequence[Curve] | None = None,
) -> Section:
    """Return what speaks against the experiment, then a sentence for each curve, or only for those of `told`.

    `runs` has one of each curve.
    """
    cautions = (*says(experiment.differences, "caution"), *sweep_cautions(experiment.together), *failure_words(curves))
    lines = (
        Sentence(capitalized(f"{'; '.join(outcome(curve))}."), label=curve.label)
        for curve in (curves if told is None else told)
    )
    tables = (outcome_table(curves, runs),) if curves else ()
    return Section(sentences=(*cautions, *lines), charts=charts, tables=tables, shown="always")


def outcome(curve: Curve) -> Iterator[str]:
    """Yield where the KV pool fills, where throughput peaks, and what limits it there."""
    found = curve.found
    yield pool_words(found.kv, curve.unit)
    if found.best is None:
        for level in found.levels[:1]:
            rate = f"{rate_words(level.output_tokens_per_s)} output tokens/s"
            yield f"the only level, {level_words(level.load, curve.unit)}, gives {rate}"
        return
    if found.saturation:
        yield f"saturation point {found.saturation.load:,.4g}"
    rate = f"{rate_and_reach(throughput_at(curve.figures, found.best.load))} output tokens/s"
    highest = found.best is found.levels[-1]
    above = ", the highest load measured" if highest else ""
    yield f"throughput is highest at {found.best.load:g} ({rate}){above}"
    yield f"bottleneck there: {limits_cell(at_best(curve))}"


def pool_words(kv: KvSaturation, unit: str) -> str:
    if kv.reached is not None:
        holds = "" if kv.derived is None else f" (it holds {range_words(kv.derived)})"
        after = "the lowest load measured" if kv.after is None else f"not at {kv.after:g}"
        return f"the KV pool is full at {level_words(kv.reached, unit)}, {after}{holds}"
    if kv.derived is not None:
        return f"the KV pool was never full; predicted, not measured: it holds {range_words(kv.derived)} {unit}"
    return "the KV pool was never full"


def range_words(ends: tuple[float, float]) -> str:
    low, high = (f"{end:,.0f}" for end in ends)
    return low if low == high else f"{low} to {high}"


def at_best(curve: Curve) -> list[PointFigures]:
    """Return the repeats of the level with the highest throughput, or of the only level."""
    best: Level | None = curve.found.best or next(iter(curve.found.levels), None)
    return [figures for figures in curve.figures if best is not None and figures.load == best.load]


def outcome_table(curves: Sequence[Curve], runs: dict[str, Run]) -> Table:
    """Return a row for each curve, without the columns that are empty for all."""
    rows = (outcome_row(curve, runs.get(curve.label)) for curve in curves)
    return without_empty(table(COLUMNS, rows, note=NOTE))


def outcome_row(curve: Curve, run: Run | None) -> list[Cell | str]:
    found = curve.found
    best = found.best or next(iter(found.levels), None)
    return [
        curve.label or "all points",
        *size_cells(run),
        pool_cell(found.kv),
        "-" if found.saturation is None else f"{found.saturation.load:,.4g}",
        "-" if best is None else rate_words(best.output_tokens_per_s),
        "-" if best is None else f"{best.load:g}",
        *(median_cell(curve, latency) for latency in ("TTFT", "TPOT")),
        limits_cell(at_best(curve)) or "-",
    ]


def size_cells(run: Run | None) -> Iterator[str]:
    """Yield the cells of the weights, the parameters and the KV pool."""
    weights, parameters = (run.weights_bytes, run.parameters) if run else (None, None)
    yield "-" if weights is None else byte_size(weights, digits=4)
    yield "-" if parameters is None else f"{parameters / 1e9:.3g} B"
    yield "-" if run is None else f"{run.facts['kv']['blocks'] * run.facts['kv']['block_size_tokens']:,}"


def pool_cell(kv: KvSaturation) -> Cell | str:
    if kv.holds is None:
        return "-"
    return Cell(range_words(kv.holds), "caution", "predicted") if kv.predicted else range_words(kv.holds)


def median_cell(curve: Curve, latency: str) -> str:
    """Return the median at the level with the highest throughput, over its repeats."""
    median = partial(PointFigures.percentile_ns, latency=latency, percent=50)
    found = intervals(at_best(curve), median)
    return duration(found[0].mean) if found and found[0] else "-"
