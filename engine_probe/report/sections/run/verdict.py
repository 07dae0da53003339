"""The verdict of a run: its throughput and what limited it, in a few sentences and then in detail."""

from collections.abc import Iterator, Mapping

from engine_probe.analysis.run.goodput import Goodput
from engine_probe.analysis.run.prefix_cache import PrefixCache
from engine_probe.analysis.run.slo import WHOLE
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.step.bottleneck import AND, LIMITS, sentence
from engine_probe.analysis.step.losses import PreemptionCost, Straggler
from engine_probe.report.document import ANSWER, ASKED, EXTRA, Figure, Section, Sentence, Table, says, table
from engine_probe.report.sections.run.ceilings import ceiling_warnings
from engine_probe.report.sections.run.roofline import roofline_figures
from engine_probe.text_format import capitalized, counted, duration, figures, rate_words

OVERLAP = 1.005  # sum of the shares from which on steps are in flight together, as in asynchronous scheduling


def run_verdict(found: RunAnalysis) -> Section:
    """Return the problems of a run, what limited it, and its headline figures."""
    summary = found.summary
    problems = says((*summary.notes, *ceiling_warnings(found.roofline)), "problem")
    preempted = [preemption_verdict(found.preemption_cost)] if found.preemption_cost.preemptions else []
    verdict = (Sentence(sentence(found.limits), rank=ANSWER), *says(preempted), *headlines(summary))
    return Section(figures=tuple(run_figures(found)), sentences=(*problems, *verdict), shown="always")


def run_figures(found: RunAnalysis) -> Iterator[Figure]:
    summary = found.summary
    yield Figure("output tokens/s", rate_words(summary.output_tokens_per_s), throughput_mark(summary))
    medians = {latency.name: latency.percentiles_ns[50] for latency in summary.latencies}
    yield from (Figure(f"{name}, median", duration(medians[name])) for name in ("TTFT", "TPOT"))
    yield Figure("KV blocks in use, peak", f"{summary.peak_kv_share:.0%}")
    yield Figure("preemptions", f"{summary.preemptions:,}")
    yield Figure("bottleneck", found.limits.main_with_doubt)
    yield from roofline_figures(found.roofline)


def throughput_mark(summary: Summary) -> str:
    """Return what makes the throughput of the whole run doubtful, in a word or two."""
    peak, later = summary.near_peak, summary.after_warm_up
    if later and later.changing:
        return "still changing"
    if peak and peak.unstable:
        return "unstable"
    return "with warm-up and end" if later and later.differs_from(summary.output_tokens_per_s) else ""


def headlines(summary: Summary) -> Iterator[Sentence]:
    others = "".join(f", {count} {reason}" for reason, count in sorted(summary.requests_other.items()))
    several = summary.sequences_answered > summary.requests_answered
    sequences = f" ({summary.sequences_answered:,} sequences, whose latencies follow)" if several else ""
    yield Sentence(
        f"{rate_words(summary.output_tokens_per_s)} output tokens/s over {summary.seconds:.1f} s: "
        f"{counted(summary.output_tokens, 'token')}, {counted(summary.requests_answered, 'request')} answered"
        f"{sequences}{others}.",
        rank=ANSWER,
    )
    if summary.highest_output_tokens_per_s is not None:
        highest = f"Highest throughput in any 0.2 s: {rate_words(summary.highest_output_tokens_per_s)} output tokens/s."
        yield Sentence(highest, rank=EXTRA)
    if summary.success and summary.success.any_failed:
        yield Sentence(f"Success rate: {summary.success.words}.", rank=ANSWER)
    yield Sentence(
        f"Running requests: {summary.mean_running:.1f} on average, {summary.peak_running} at peak; waiting: "
        f"{summary.peak_waiting} at peak; KV blocks in use: {summary.mean_kv_share:.0%} on average, "
        f"{summary.peak_kv_share:.0%} at peak.",
        rank=EXTRA,
    )
    if summary.goodput:
        yield from (Sentence(line, rank=ASKED) for line in goodput_lines(summary.goodput))


def goodput_lines(found: Goodput) -> Iterator[str]:
    """Yield how many requests met the limits on requests, and whether the run met those on costs and energies."""
    if found.slo.request_words:
        yield goodput_line(found)
    for limit in found.whole:
        name = capitalized(WHOLE[limit.name])
        if limit.value is None:
            yield f"{name} cannot be judged: {limit.reason}."
        else:
            within = "within" if limit.value <= limit.limit else "above"
            yield f"{name}: {limit.value:,.3g}, {within} its limit of {limit.limit:g}."


def goodput_line(found: Goodput) -> str:
    if found.share is None:
        return f"Goodput with {found.slo.request_words}: no request could be judged."
    undecided = (
        f"; {found.undecided:,} could not be judged: aborted early, or arrival not known" if found.undecided else ""
    )
    return (
        f"Goodput {figures(found.requests_per_s)} requests/s: {found.kept:,} of {found.judged:,} requests "
        f"({found.share:.1%}) met {found.slo.request_words}{undecided}."
    )


def limit_sentences(found: RunAnalysis) -> Iterator[str]:
    """Yield where the time of the steps went, apart from the limits."""
    summary = found.summary
    yield f"{summary.iterations:,} steps; {time_words(summary.shares)}."
    if found.kv_fragmentation is not None:
        yield f"{found.kv_fragmentation:.1%} of the token slots in used KV blocks were empty (fragmentation)."
    if cache := summary.prefix_cache:
        yield cache_sentence(cache)
    if step := found.composition:
        shares = ", ".join(f"{share:.0%} {name}" for name, share in step.token_shares.items() if share)
        yield f"An average step processed {step.mean_tokens:.1f} tokens of {step.mean_requests:.1f} requests: {shares}."
    if found.straggler:
        yield straggler_verdict(found.straggler)


def time_words(shares: Mapping[str, float]) -> str:
    """Say where the time went; where steps overlap, how many execute at the same time in place of a share."""
    overlap = sum(shares.values()) > OVERLAP
    names = {"outside": "gaps between steps"}
    apart = {name: share for name, share in shares.items() if not (overlap and name == "execute")}
    parts = ", ".join(f"{names.get(name, name)} {share:.1%}" for name, share in apart.items())
    executing = f"; steps overlap: {shares['execute']:.2f} execute at the same time on average" if overlap else ""
    return f"share of the time: {parts}{executing}"


def cache_sentence(cache: PrefixCache) -> str:
    if not cache.connector_tokens:
        return f"Prefix cache hit rate: {cache.share:.1%} of the prompt tokens, at first admission."
    loaded = cache.connector_tokens / cache.prompt_tokens
    return (
        f"Of the prompt tokens, at first admission, {cache.share:.1%} were found in the prefix cache, {loaded:.1%} "
        f"came from KV connectors, and {1 - cache.share - loaded:.1%} were computed."
    )


def preemption_verdict(cost: PreemptionCost) -> str:
    by_cause = ", ".join(f"{cause} {number:,}" for cause, number in cost.causes.items())
    causes = f" By cause: {by_cause}." if by_cause else ""
    never = f" {cost.never_resumed:,} never ran again." if cost.never_resumed else ""
    recomputed = (
        f"{cost.recomputed_tokens:,} tokens were recomputed ({cost.recomputed_share:.1%} of all), about "
        f"{duration(cost.recompute_ns)} of model time if all tokens of a step cost the same"
        if cost.recomputed_tokens
        else "no token was recomputed"
    )
    return (
        f"{cost.preemptions:,} preemptions of {cost.requests:,} requests: {recomputed}; the requests "
        f"were preempted for {duration(cost.away_ns)} in total, one of them for {duration(cost.worst[0].away_ns)}."
        f"{never}{causes}"
    )


def straggler_verdict(found: Straggler) -> str:
    share = f"{found.last_share:.0%} of the steps ({found.clock} time; {1 / found.ranks:.0%} by chance)"
    words = (
        f"Rank {found.rank} of {found.ranks} began its forward last in {share}, and the others waited for it"
        if found.late
        else f"No rank surely began its forward last more often than by chance: rank {found.rank} of {found.ranks} in "
        f"{share}"
    )
    return f"{words}; the last rank began {duration(found.behind_ns)} after the median rank on average."


def limit_table(found: RunAnalysis) -> Table:
    rows = (
        (name, f"{share:.1%}", *("; ".join(words) for words in limit_words(name)))
        for name, share in found.limits.shares.items()
        if share
    )
    return table(("bottleneck", "of busy time", "meaning", "rule for a step"), rows, words=(0, 2, 3))


def reason_table(found: RunAnalysis) -> Iterator[Table]:
    """Yield what vLLM's scheduler refused the first waiting request for, if that is recorded and one waited."""
    rows = [(name, f"{steps:,}", f"{share:.1%}") for name, steps, share in found.limits.reasons]
    if rows:
        yield table(("a request waited because of", "steps", "of busy time"), rows)


def limit_words(names: str) -> tuple[list[str], list[str]]:
    """Return the meanings and the rules of limits that were met together."""
    met = [limit for limit in LIMITS if limit.name in names.split(AND)]
    return [limit.meaning for limit in met], [limit.rule for limit in met]


def longest_preempted(cost: PreemptionCost) -> Section:
    worst = ((each.request_id, f"{each.preemptions:,}", duration(each.away_ns)) for each in cost.worst)
    tables = (table(("request", "preemptions", "time preempted"), worst),) if cost.worst else ()
    return Section("Requests preempted for longest", tables=tables, shown="page")
