"""What engines that measure together add up to, which one is slower, and how throughput scales with their number."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean

from engine_probe.analysis.cluster.scaling import ScalingLevel
from engine_probe.analysis.run.success import summed
from engine_probe.analysis.statistics.repeats import rate_and_reach
from engine_probe.recordings.cluster import wall_clock_ahead
from engine_probe.recordings.cluster_levels import ClusterLevel, ClusterPart, cluster_levels, scaling_of
from engine_probe.recordings.sweep import Swept
from engine_probe.report.charts.experiment.cluster import cluster_charts
from engine_probe.report.document import Column, Figure, Section, Sentence, Table, says, sure, table, without_empty
from engine_probe.report.sections.sweep.verdict import sweep_cautions
from engine_probe.text_format import counted, duration, long_duration, rate_words
from engine_probe.workload.load import CONCURRENCY, level_words

SHORT_SHARE = 0.5  # of the longest run; a shorter common time says little of it
COLUMNS = (
    Column("configuration", words=True),
    Column("load of each engine", short="load\nof each"),
    Column("engines", short="en-\ngines"),
    Column("output tokens/s", short="tokens/s"),
    Column("output tokens/s per GPU", short="per\nGPU"),
    Column("each engine, output tokens/s", short="each\nengine"),
    Column("spread"),
    Column("TTFT\np50"),
    Column("TTFT\np99", room="spare"),
    Column("TPOT\np50", room="spare"),
    Column("goodput, requests/s", short="good-\nput/s"),
    Column("requests within the SLO", short="within\nthe SLO"),
    Column("efficiency", short="effi-\nciency"),
)
NOTE = (
    "Load: concurrent requests, if no unit is given. Latencies are over all requests of all engines. Spread: how far "
    "the fastest engine of a kind lies above the slowest."
)
OF_EFFICIENCY = " Efficiency: throughput as a share of so many times that of one engine."


def cluster_verdict(swept: Swept) -> Section:
    """Return the verdict of a sweep whose points several engines measured."""
    section = cluster_section(swept, title="")
    return replace(section, sentences=(*sweep_cautions(swept), *section.sentences))


def cluster_section(swept: Swept, title: str = "Several engines together") -> Section:
    levels = cluster_levels(swept)
    scaled = scaling_of(levels)
    sentences = (
        *says(failures(levels), "problem"),
        *says(short_windows(levels), "caution"),
        *says(scaling_words(scaled) if scaled else map(sum_words, levels)),
        *says(slo_words(levels)),
        *balance_sentences(levels),
    )
    return Section(
        title,
        figures=tuple(largest_figures(levels)),
        sentences=sentences,
        charts=partial(cluster_charts, levels),
        tables=(cluster_table(levels),),
        details=sure(*doubts(levels)),
        shown="always",
    )


def largest_figures(levels: Sequence[ClusterLevel]) -> Iterator[Figure]:
    largest = max(levels, key=lambda level: (level.engines, level.output_tokens_per_s.mean))
    rate = largest.output_tokens_per_s.mean
    yield Figure(f"output tokens/s of {largest.configuration}", rate_words(rate))
    if largest.gpus:
        yield Figure("a GPU", rate_words(rate / largest.gpus))
    if scaled := scaling_of(levels):
        yield Figure(f"efficiency of {scaled[-1].engines} engines", f"{scaled[-1].efficiency:.0%}")


def throughput_words(level: ClusterLevel | ClusterPart) -> str:
    found = level.output_tokens_per_s
    return "-" if found is None else rate_and_reach(found)


def sum_words(level: ClusterLevel) -> str:
    """Return what a configuration adds up to, part by part for a mix."""
    gpus = f", {rate_words(level.output_tokens_per_s.mean / level.gpus)} a GPU" if level.gpus else ""
    parts = ""
    if len(level.parts) > 1:
        parts = " (" + " + ".join(f"{throughput_words(part)} of {part.name}" for part in level.parts) + ")"
    loads = {part.load for part in level.parts}
    load = f" at {level_words(*loads.pop())} each" if len(loads) == 1 else ""
    return f"{level.configuration}{load}: {throughput_words(level)} output tokens/s together{parts}{gpus}."


def scaling_words(scaled: Sequence[ScalingLevel]) -> Iterator[str]:
    for level in scaled[1:]:
        reach = "" if level.interval is None else f" ({level.interval[0]:.0%} to {level.interval[1]:.0%})"
        rate, times = rate_words(level.output_tokens_per_s.mean), level.efficiency * level.engines
        yield (
            f"{level.engines} engines: {rate} output tokens/s together, {times:.2f} times one engine's: an efficiency "
            f"of {level.efficiency:.0%}{reach}."
        )


def balance_sentences(levels: Sequence[ClusterLevel]) -> Iterator[Sentence]:
    """Yield each engine that differs from the others of its kind by more than chance, and what is known of the rest."""
    parts = [part for level in levels for part in level.parts if part.throughput_balance]
    if not parts:
        return
    tested = {place: bias_sentence(part) for place, part in enumerate(parts) if part.tested}
    yield from filter(None, tested.values())
    others = [parts[place] for place, accused in tested.items() if accused is None]
    if not tested:
        moved = any(len(part.repeats) > 1 for part in parts)
        why = "they changed places between repeats" if moved else "there are no repeats"
        words = f"Balance: engines of a kind differ by up to {most_spread(parts):.1%} in throughput; {why}, so no test."
        yield Sentence(words, "soft")
    elif others:
        other = " other" if len(others) < len(tested) else ""
        words = (
            f"Balance: repeats show no{other} engine to be slower or faster (spread up to {most_spread(others):.1%})."
        )
        yield Sentence(words)


def most_spread(parts: Sequence[ClusterPart]) -> float:
    return max(found.spread for part in parts if (found := part.throughput_balance))


def bias_sentence(part: ClusterPart) -> Sentence | None:
    """Name the engines that differ. None if none does."""
    if not part.tested:
        return None
    figures = {"throughput": part.throughput_balance, "median TTFT": part.ttft_balance}
    words: dict[int, list[str]] = {}
    for name, found in figures.items():
        for bias in found.biased if found else ():
            interval = f"{bias.low:.3g} to {bias.high:.3g}, p = {bias.p:.2g}"
            words.setdefault(bias.engine, []).append(f"{bias.ratio:.3g} times their {name} ({interval})")
    named = (
        f"engine {part.engines[place].number} ({part.engines[place].place}) has {' and '.join(each)}"
        for place, each in words.items()
    )
    return Sentence(f"Against the others of {part.name}, {'; '.join(named)}.", "caution") if words else None


def cluster_table(levels: Sequence[ClusterLevel]) -> Table:
    """Return a row for each configuration and load, without columns that are empty for all."""
    efficiencies = {level.engines: level.efficiency for level in scaling_of(levels)}
    rows = (row for level in levels for row in cluster_rows(level, efficiencies))
    return without_empty(table(COLUMNS, rows, note=NOTE + (OF_EFFICIENCY if efficiencies else "")))


def cluster_rows(level: ClusterLevel, efficiencies: dict[int, float]) -> Iterator[list[str]]:
    """Yield the row of a configuration; of a mix also one for each kind of engine."""
    efficiency = f"{efficiencies[level.engines]:.0%}" if level.engines in efficiencies else "-"
    if len(level.parts) == 1:
        yield [level.configuration, *part_cells(level.parts[0]), efficiency]
        return
    sums = (str(level.engines), throughput_words(level), per_gpu(level), "-", "-")
    yield [level.configuration, "-", *sums, *latency_cells(level), *goodput_cells(level), efficiency]
    for part in level.parts:
        yield [f"of these {part.name}", *part_cells(part), "-"]


def part_cells(part: ClusterPart) -> list[str]:
    load, unit = part.load
    found = part.throughput_balance
    return [
        f"{load:g}{'' if unit == CONCURRENCY else f' {unit}'}",
        str(len(part.engines)),
        throughput_words(part),
        per_gpu(part),
        "-" if found is None else f"{rate_words(min(found.means))} to {rate_words(max(found.means))}",
        "-" if found is None else f"{found.spread:.1%}",
        *latency_cells(part),
        *goodput_cells(part),
    ]


def per_gpu(found: ClusterLevel | ClusterPart) -> str:
    rate = found.output_tokens_per_s
    return rate_words(rate.mean / found.gpus) if found.gpus and rate else "-"


def latency_cells(found: ClusterLevel | ClusterPart) -> Iterator[str]:
    for latency, percent in (("TTFT", 50), ("TTFT", 99), ("TPOT", 50)):
        mean = found.mean_ns(latency, percent)
        yield "-" if mean is None else duration(mean.mean)


def goodput_cells(found: ClusterLevel | ClusterPart) -> Iterator[str]:
    """Yield the goodput and the share of requests that meet the SLO, as means over the repeats."""
    goodputs = found.goodputs
    shares = [each.share for each in goodputs if each.share is not None]
    yield f"{fmean(each.requests_per_s for each in goodputs):.3g}" if goodputs else "-"
    yield f"{fmean(shares):.0%}" if shares else "-"


def slo_words(levels: Sequence[ClusterLevel]) -> Iterator[str]:
    """Yield up to which load each configuration meets the SLO: in every repeat, and each of its engines."""
    by_name: dict[str, list[ClusterLevel]] = {}
    for level in levels:
        if level.goodputs:
            by_name.setdefault(level.configuration, []).append(level)
    for name, alike in by_name.items():
        ordered = sorted(alike, key=lambda level: level.points[0].load)
        met = [level for level in ordered if all(each.met for each in level.goodputs)]
        words = "at none of the loads" if not met else f"up to {level_words(*met[-1].parts[0].load)} for each engine"
        yield f"SLO: {name} meets it {words}."


def failures(levels: Sequence[ClusterLevel]) -> Iterator[str]:
    """Yield at which configurations requests fail; throughput counts their tokens, too."""
    for level in levels:
        known = [cluster.success for cluster in level.clusters if cluster.success]
        if known and (together := summed(known)).any_failed:
            yield f"Requests fail: {level.configuration} at {level.name}: {together.words}."


def short_windows(levels: Sequence[ClusterLevel]) -> Iterator[str]:
    for level in levels:
        share = min(cluster.window.share for cluster in level.clusters)
        if share < SHORT_SHARE:
            yield (
                f"{level.name}: all engines ran together only {share:.0%} of the longest run: the sum is of that time. "
                "Give engines that end early more requests, or all of them stop.seconds."
            )


def doubts(levels: Sequence[ClusterLevel]) -> Iterator[str]:
    """Yield what the sums count, and what weakens them."""
    windows = [cluster.window for level in levels for cluster in level.clusters if len(cluster.engines) > 1]
    held = all(window.held for window in windows)
    shortest, longest = (long_duration(end(window.seconds for window in windows)) for end in (min, max))
    spans = shortest if shortest == longest else f"{shortest} to {longest}"
    yield (
        f"The sum counts the tokens of the time in which all engines {'hold their load' if held else 'run'}: {spans}, "
        f"{min(window.share for window in windows):.0%} of the longest run or more. Engines began within "
        f"{duration(max(window.skew_ns for window in windows))} of each other."
    )
    yield "Each engine has the whole workload to itself, the same requests for all of a kind: no balancer spreads them."
    runs = [engine.run for level in levels for cluster in level.clusters for engine in cluster.engines]
    hosts = {run.facts["process"]["host"] for run in runs}
    if len(hosts) > 1:
        clocks = [wall_clock_ahead(run) for run in runs]
        errors = [clock.error_ns for clock in clocks if clock is not None]
        known = f"compared when the point began, to within {duration(max(errors))}" if errors else ""
        agree = known if len(errors) == len(clocks) else "taken to agree"
        yield f"Recordings of {counted(len(hosts), 'machine')} are laid on their wall clocks, {agree}."
    elif not any(run.facts.get("hardware", {}).get("gpus") for run in runs):
        yield "Engines on one machine divide its cores, all of which a single engine has to itself."
    yield (
        "Balance: two-way analysis of variance of logarithms (repeats, engines), each engine against the mean of the "
        "others, Holm-corrected; an engine that differs is left out before the others are tested."
    )
