"""The verdict of a sweep: where throughput stops growing on each curve, its chart, its tables and its statistics."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from engine_probe.analysis.batch.left_graphs import LeftGraphs
from engine_probe.analysis.curve.regions import beyond_sentence, ends_sentence
from engine_probe.analysis.curve.saturation import WITHIN, KvSaturation, Level, Saturation
from engine_probe.analysis.run.success import Success, summed
from engine_probe.analysis.statistics.level_noise import FEWEST
from engine_probe.analysis.statistics.repeats import rate_and_reach
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept
from engine_probe.report.charts.level_means import repeats_note, throughput_at
from engine_probe.report.document import ANSWER, EXTRA, Figure, Picture, Section, Sentence, says, sure
from engine_probe.report.sections.run.ceilings import sweep_doubts, sweep_warnings
from engine_probe.report.sections.slo import slo_doubts, slo_verdicts
from engine_probe.report.sections.sweep.levels import level_tables, overview_table
from engine_probe.report.sections.sweep.prefix_cache import cache_details, cache_verdict
from engine_probe.text_format import capitalized
from engine_probe.workload.load import CONCURRENCY, level_words

LARGE_ERROR = 0.05  # root mean square of the relative errors of a fitted curve


def sweep_verdict(swept: Swept, curves: Sequence[Curve], charts: Callable[[], Iterable[Picture]]) -> Section:
    """Return the problems of a sweep, then where each curve ends: one sentence for each where there are several."""
    noisy = not any(run.predicted for run in swept.runs)
    parts = [curve_section(curve, noisy) for curve in curves if curve.worth_words or len(curves) == 1]
    tables = level_tables(curves)
    cautions = (*sweep_cautions(swept), *failure_words(curves))
    probe_cost = tuple(Sentence(line, rank=EXTRA) for line in swept.probe_off_lines)
    overview = overview_table(curves) if len(tables) > 1 else None
    if len(parts) == 1 and not parts[0].title:
        (only,) = parts
        sentences = (*cautions, *only.sentences, *probe_cost)
        return Section("", only.figures, sentences, charts, tables=tables, details=only.details, shown="always")
    first = (replace(part.sentences[0], label=part.title, rank=ANSWER) for part in parts if part.sentences)
    sentences = (*cautions, *first, *probe_cost)
    return Section("", (), sentences, charts, tables=tables, parts=tuple(parts), shown="always", overview=overview)


def sweep_cautions(swept: Swept) -> Iterator[Sentence]:
    analyses = [analysis for point in swept.points for analysis in point.analyses]
    if not swept.points:
        yield Sentence(f"{swept.folder} holds no point yet: the sweep ended before its first", "problem")
    yield from says(sweep_warnings(analyses), "problem")
    yield from says((*swept.unmeasured, *sweep_doubts(analyses)), "caution")


def failure_words(curves: Sequence[Curve]) -> Iterator[Sentence]:
    """Yield for each curve how many requests failed, at each load at which some did."""
    for curve in curves:
        by_load: dict[float, list[Success]] = {}
        for figures in curve.figures:
            if (found := figures.summary.success) is not None:
                by_load.setdefault(figures.load, []).append(found)
        rates = {load: summed(found) for load, found in sorted(by_load.items())}
        failed = [f"{1 - found.rate:.1%} at {load:g}" for load, found in rates.items() if found.any_failed]
        if failed:
            words = f"Requests fail: {', '.join(failed)} {curve.unit}. Throughput counts their tokens, too."
            yield Sentence(words, "problem", curve.label)


def curve_section(curve: Curve, noisy: bool) -> Section:
    """Return what a curve shows; one that is predicted is not noisy, and has no repeats to ask for."""
    verdicts = (
        *sweep_verdicts(curve),
        *([Sentence(left_graphs_words(left, curve.unit), rank=EXTRA)] if (left := curve.left_graphs) else ()),
        *says(cache_verdict(curve)),
        *slo_verdicts(curve),
    )
    noise = (*repeats_note(curve.figures), *noise_doubts(curve.found)) if noisy else ()
    doubts = (*sweep_details(curve.found, curve.unit), *cache_details(curve), *noise, *slo_doubts(curve))
    return Section(curve.label, figures=tuple(curve_figures(curve)), sentences=verdicts, details=sure(*doubts))


def curve_figures(curve: Curve) -> Iterator[Figure]:
    """Yield the highest throughput, and the loads at which growth ends and the KV pool is full."""
    found = curve.found
    if found.best:
        label, rate = f"highest output tokens/s, at {found.best.load:g}", throughput_at(curve.figures, found.best.load)
        yield Figure(label, rate_and_reach(rate), "no repeats" if has_no_repeats(found) else "")
    if found.saturation:
        low, high = found.saturation.low, found.saturation.high
        load = f"up to {high:g}" if not low else f"{low:g} to {high:g}" if high > low else f"{found.saturation.load:g}"
        yield Figure(f"saturation point, {curve.unit}", load)
    if found.kv.reached is not None:
        yield Figure(f"waiting for KV blocks begins, {curve.unit}", f"{found.kv.reached:g}")
    if found.best and curve.figures:
        (best, *_) = (figures for figures in curve.figures if figures.load == found.best.load)
        yield Figure("bottleneck at the highest", best.limits.main_with_doubt)


def has_no_repeats(found: Saturation) -> bool:
    return all(len(level.repeated) < 2 for level in found.levels)


def sweep_verdicts(curve: Curve) -> Iterator[Sentence]:
    """Yield where growth ends (or why that is not known), the highest throughput, and when the KV pool was full."""
    found, unit = curve.found, curve.unit
    ends = ends_sentence(found, unit)
    if ends:
        yield Sentence(ends, rank=ANSWER)
    if found.growth and found.growth.falls > found.growth.stays and (beyond := beyond_sentence(found)):
        yield Sentence(beyond, rank=EXTRA)
    if found.best:
        yield Sentence(highest_verdict(curve), rank=ANSWER)
        yield from says(operating_verdict(found, unit))
    yield from says(kv_verdict(found.kv, unit))
    if not ends:
        yield from says(notes(found))


def highest_verdict(curve: Curve) -> str:
    """Return the highest throughput, and whether its load is the recommended one, which only repeats can show."""
    found, best = curve.found, curve.found.best
    assert best is not None
    rate = throughput_at(curve.figures, best.load)
    recommended = ", the recommended load" if found.operating is best and found.noise is not None else ""
    at = f"at {best.load:g} {curve.unit}{recommended}"
    return f"Highest throughput: {rate_and_reach(rate)} output tokens/s {at}."


def operating_verdict(found: Saturation, unit: str) -> Iterator[str]:
    """Yield the load to operate at if it is below the best one. Nothing without repeats, which alone can show it."""
    if found.operating not in (None, found.best) and found.noise is not None:
        assert found.operating is not None
        load = f"Recommended load: {found.operating.load:g} {unit}"
        yield f"{load}, the lowest that repeats show to be within {WITHIN:.0%} of the highest throughput."


def sweep_details(found: Saturation, unit: str) -> Iterator[str]:
    """Yield what the highest throughput compares to, and what weakens the figures of this curve."""
    if found.growth and found.growth.falls <= found.growth.stays and (beyond := beyond_sentence(found)):
        yield beyond
    if found.best:
        if found.operating is found.best and found.noise is not None:
            yield f"Repeats do not show that a lower load is within {WITHIN:.0%} of the highest throughput."
        if unit == CONCURRENCY and found.levels[0].load == 1 and found.best is not found.levels[0]:
            times = found.best.output_tokens_per_s / found.levels[0].output_tokens_per_s
            yield f"The highest throughput is {times:,.1f} times that of one request at a time."
        yield from headroom_verdict(found, unit)
        if alike := found.not_different:
            yield alike_verdict(found, alike, unit)
    if found.kv.derived is not None:
        yield "What the KV pool holds: at lower loads, peak running requests / peak share of the pool in use."
    if ends_sentence(found, unit):
        yield from notes(found)


def noise_doubts(found: Saturation) -> Iterator[str]:
    """Yield what noise leaves open."""
    if found.best:
        yield from noise_sentences(found)
    if has_no_repeats(found) and found.growth and found.growth.fit.error > LARGE_ERROR:
        # With repeats a test says it, in the notes.
        yield (
            f"The fitted curve misses the levels by {found.growth.fit.error:.1%} (RMS): without repeats, noise and "
            "another shape cannot be told apart."
        )


def noise_sentences(found: Saturation) -> Iterator[str]:
    """Yield what the repeats of the levels cannot show, or what they share."""
    if has_no_repeats(found):
        yield "Each level was measured by one run, so how much repeats differ is not known."
    elif found.noise is None:
        yield (
            "The repeats of a level were measured one after another: what they share looks like an effect of the load, "
            "so levels have no interval and are not tested against each other (interleave = true measures in rounds)."
        )
    elif found.noise.shared:
        yield (
            "Levels lie further from a smooth curve than their repeats explain (F-test): a standard deviation of "
            f"{found.noise.shared_deviation:.1%}, which all repeats of a level share, is in every interval of a level."
        )
    elif len(found.levels) < FEWEST:
        yield (
            f"Noise that all repeats of a level share is in no interval: {len(found.levels)} levels are too few to "
            "show it."
        )


def notes(found: Saturation) -> Iterator[str]:
    yield from (f"{capitalized(note)}." for note in found.notes)


def alike_verdict(found: Saturation, alike: Sequence[Level], unit: str) -> str:
    assert found.noise is not None
    loads = ", ".join(f"{level.load:g}" for level in alike)
    return (
        f"Repeats do not tell these levels from the highest throughput: {loads} {unit} (t-tests, corrected; repeats "
        f"scatter by {found.noise.deviation:.1%} over all levels)."
    )


def headroom_verdict(found: Saturation, unit: str) -> Iterator[str]:
    """Yield how much of the KV pool the best level leaves free, or what leaving some of it free costs."""
    room, best = found.with_room, found.best
    if room is None or best is None:
        return
    free = f"{1 - room.peak_kv_share:.0%}"
    if room is best:
        yield f"At its best level {free} of the KV pool stayed free."
    elif room not in found.not_different:
        less = 1 - room.output_tokens_per_s / best.output_tokens_per_s
        yield (
            f"At {best.load:g} the KV pool was full; {room.load:g} {unit} left {free} of it free, with {less:.0%} less "
            "throughput."
        )


def kv_verdict(kv: KvSaturation, unit: str) -> Iterator[str]:
    if kv.derived is not None:
        low, high = (f"{value:,.0f}" for value in kv.derived)
        load = low if low == high else f"{low} to {high}"
        verb = "Predicted, not measured: the" if kv.predicted else "The"
        own = "" if unit == CONCURRENCY else f" {unit}"
        then = (
            f"; from {kv.reached:g}{own} on, some waited for blocks or were preempted" if kv.reached is not None else ""
        )
        yield f"{verb} KV pool holds {load} concurrent requests{then}."
    elif kv.reached is not None:
        after = f"but not at {kv.after:g}" if kv.after is not None else "the lowest load measured"
        yield f"Requests waited for KV blocks or were preempted from {kv.reached:g} {unit} on, {after}."


def left_graphs_words(found: LeftGraphs, unit: str) -> str:
    left = (
        f"Decode steps outgrow the largest CUDA graph ({found.largest:,} tokens) between {found.within:g} and "
        f"{level_words(found.beyond, unit)}, where {found.share:.0%} of the time goes to decode steps outside graphs"
    )
    if not found.at_knee:
        return f"{left}."
    kv = "requests also wait for KV blocks there" if found.waited_for_kv else "no request waits for KV blocks there"
    return f"{left}; throughput stops growing in the same range, and {kv}."
