"""Do greedy answers stay the same under load: the verdict, shares by load, and what divergence depends on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from engine_probe.analysis.answers.integrity.dependence import Dependence
from engine_probe.analysis.answers.integrity.margin_noise import DISTURBED_CHANCE, STRETCH, MarginNoise
from engine_probe.analysis.answers.integrity.request_verdicts import FAULTS, ComparedAnswer, Kind
from engine_probe.analysis.statistics.student import SIGNIFICANT
from engine_probe.evaluation.integrity import ChangedAnswer, CurveIntegrity, LevelIntegrity
from engine_probe.recordings.run import Run
from engine_probe.report.charts.model import Axis, Lines, Series, load_axis
from engine_probe.report.document import Bar, Bars, Cell, Column, Part, Section, Sentence, Table, says, sure, table
from engine_probe.report.sections.compare.change_words import enumerated
from engine_probe.text_format import capitalized, counted

TITLE = "Answers under load"
PAINTS = {
    Kind.IDENTICAL: "c2 pale",
    Kind.NEAR_TIE: "c0 pale",
    Kind.UNDECIDED: "c4 pale",
    Kind.DIVERGED: "c3",
    Kind.CUT_SHORT: "c1",
    Kind.FAILED: "c5",
}
BATCH_INVARIANT = (
    "VLLM_BATCH_INVARIANT=1 ([engine.environment]) makes answers independent of the batch where vLLM's attention "
    "backend supports it (in 0.32 FlashAttention, Triton, FlexAttention and two of the MLA backends)"
)
FIRST_ROWS = 12


def integrity_sections(found: Sequence[CurveIntegrity]) -> Iterator[Section]:
    """Yield a section for each curve whose answers were compared."""
    for curve in found:
        title = f"{TITLE}: {curve.label}" if curve.label else TITLE
        yield Section(
            title,
            sentences=tuple(verdicts(curve)),
            charts=partial(charts, curve),
            bars=(share_bars(curve),),
            tables=(level_table(curve),),
            details=(*([request_section(curve)] if curve.changes else []), *sure(*doubts(curve))),
            shown="always",
        )


def sampled_section(runs: Sequence[Run]) -> Section:
    """Say that sampled answers are not compared. Empty without any."""
    if not runs:
        return Section()
    words = f"The answers of {counted(len(runs), 'run')} were sampled (temperature above 0)"
    return Section(
        f"{TITLE}, not compared",
        sentences=says([f"{words}: they differ even without load. Only greedy answers are compared."], "caution"),
    )


def verdicts(curve: CurveIntegrity) -> Iterator[Sentence]:
    """Yield whether answers stay right, what divergence depends on, and what the engine's own repeats show."""
    yield headline(curve)
    if failed := curve.count(Kind.FAILED):
        yield Sentence(f"{counted(failed, 'request')} of {curve.compared:,} failed under load.", "caution")
    yield Sentence(own_noise(curve))
    if curve.changed:
        yield from says(cause_words(curve.tests))


def asked_verdicts(found: Sequence[CurveIntegrity]) -> Iterator[Sentence]:
    """Yield the answer to the question of a sweep that was made to compare answers: one sentence for each curve."""
    yield from (replace(headline(curve), label=curve.label) for curve in found)


def headline(curve: CurveIntegrity) -> Sentence:
    base = reference_words(curve)
    answered = curve.compared - curve.count(Kind.FAILED)
    if curve.faults:
        parts = [f"{curve.count(kind)} {kind.value}" for kind in (Kind.DIVERGED, Kind.CUT_SHORT) if curve.count(kind)]
        if disturbed := sum(level.disturbed for level in curve.levels):
            parts.append(f"{disturbed} with log-probabilities beyond the noise")
        return Sentence(
            f"Answers are not right under load: {curve.faults} of {curve.compared:,} differ from those at {base} in a "
            f"way that numerics do not explain ({', '.join(parts)}).",
            "problem",
        )
    if not answered:
        return Sentence("No answer under load could be compared: none was whole.", "caution")
    if not curve.changed:
        return Sentence(f"Answers stay the same: all {answered:,} are identical to those at {base}.", "good")
    near, undecided = curve.count(Kind.NEAR_TIE), curve.count(Kind.UNDECIDED)
    if undecided:
        reasons = {each.comparison.why for each in curve.changes if each.comparison.kind is Kind.UNDECIDED}
        return Sentence(
            f"{curve.changed} of {answered:,} answers diverged from those at {base}: {near} at near-ties; the cause of "
            f"{undecided} cannot be told ({', '.join(sorted(reasons))}).",
            "caution",
        )
    return Sentence(
        f"Answers stay right: {curve.changed} of {answered:,} diverged from those at {base}, all at near-ties that "
        "numerics explain.",
        "good",
    )


def own_noise(curve: CurveIntegrity) -> str:
    repeat = curve.repeat
    base = reference_words(curve)
    if repeat is None:
        return f"{capitalized(base)} was measured once, so the engine's own noise at the lowest load is not known."
    if not repeat.changed:
        return f"The engine repeats itself at {base}: {repeat.compared:,} of {repeat.compared:,} answers are identical."
    return (
        f"The engine does not repeat itself even at {base}: {repeat.changed} of {repeat.compared:,} answers differ "
        "between repeats; the effect of load is tested against that."
    )


def reference_words(curve: CurveIntegrity) -> str:
    return load_name(curve.reference_load, curve.unit)


def load_name(load: float, unit: str) -> str:
    return f"{load:g} {unit.removesuffix('s') if load == 1 else unit}"


def cause_words(tests: Sequence[Dependence]) -> Iterator[str]:
    """Yield what divergence depends on, with the size of the effect, and what has no effect that shows."""
    shown = [test for test in tests if test.p is not None and test.p < SIGNIFICANT]
    for test in shown:
        yield f"Divergence depends on {test.cause} ({odds_words(test)})."
    if others := [test.cause for test in tests if test.p is not None and test not in shown]:
        yield f"Divergence is not shown to depend on {enumerated(others)}."
    if untested := [test for test in tests if test.p is None]:
        yield f"Not tested: {'; '.join(f'{test.cause}, because {test.why_not}' for test in untested)}."


def odds_words(test: Dependence) -> str:
    if test.odds is None or test.p is None:
        return test.why_not
    ends = f"{ratio(test.odds.low)} to {ratio(test.odds.high)}"
    return f"odds × {ratio(test.odds.ratio)} for {test.unit}, 95% {ends}, p = {test.p:.2g}"


def ratio(value: float) -> str:
    return "∞" if value > 1e4 else f"{value:.3g}"


def share_bars(curve: CurveIntegrity) -> Bars:
    bars = []
    for level in curve.levels:
        parts = tuple(
            Part(kind.value, f"{count}", count / max(1, level.compared), PAINTS[kind])
            for kind, count in level.kinds.items()
            if count
        )
        repeats = " (repeat)" if level.load == curve.reference_load else ""
        bars.append(Bar(f"{load_name(level.load, curve.unit)}{repeats}", f"{level.compared}", parts))
    return Bars("What became of the answers", f"Against {reference_words(curve)}.", tuple(bars))


def charts(curve: CurveIntegrity) -> Iterator[Lines]:
    levels = [level for level in curve.levels if level.compared > level.kinds[Kind.FAILED]]
    if len(levels) < 2:
        return
    answered = [level.compared - level.kinds[Kind.FAILED] for level in levels]
    unexplained = [sum(level.kinds[kind] for kind in FAULTS) for level in levels]
    yield Lines(
        title="Divergence against load",
        note="Share of the answers that are not identical; bars: 95% as if requests were independent.",
        x=load_axis(curve.unit),
        y=[Axis("changed answers", "%")],
        xs=[level.load for level in levels],
        series=[
            Series(
                "changed",
                [100 * level.changed / count for level, count in zip(levels, answered, strict=True)],
                style="both",
                low=[100 * level.interval[0] for level in levels],
                high=[100 * level.interval[1] for level in levels],
            ),
            Series(
                "in a way that numerics do not explain",
                [100 * faults / count for faults, count in zip(unexplained, answered, strict=True)],
                style="both",
                colour=3,
            ),
        ],
    )


def level_table(curve: CurveIntegrity) -> Table:
    kinds = [kind for kind in Kind if kind is Kind.IDENTICAL or curve.count(kind)]
    names = (name.replace(" ", "\n", 1) for name in (curve.unit, "compared", *(kind.value for kind in kinds)))
    rows = (level_row(level, kinds) for level in curve.levels)
    return table((*names, "changed", "preempted"), rows, words=())


def level_row(level: LevelIntegrity, kinds: Sequence[Kind]) -> tuple[Cell | str, ...]:
    answered = level.compared - level.kinds[Kind.FAILED]
    low, high = level.interval
    share = Cell(f"{level.changed / answered:.0%}", below=f"({low:.0%} to {high:.0%})") if answered else "-"
    counts = (f"{level.kinds[kind]}" for kind in kinds)
    return (f"{level.load:g}", f"{level.compared}", *counts, share, f"{level.preempted}")


def request_section(curve: CurveIntegrity) -> Section:
    """Return a row for each request that changed, with the step that made its first divergent token."""
    beside = Column("prefill tokens beside", short="prefill\nbeside")
    recomputed = Column("recomputed tokens", short="recom-\nputed")
    titles = (
        *("prompt", Column(curve.unit, short="load"), "what", "token", "shift\nneeded", "batch", beside, "KV"),
        *("preempted", recomputed, Column("CUDA graph", room="page", words=True)),
        Column("looks like", words=True, room="spare"),
    )
    ordered = sorted(curve.changes, key=lambda each: (not each.comparison.is_fault, each.load))
    note = "Batch, prefill and KV are of the step that made the first divergent token; preemptions came before it."
    made = table(titles, map(request_row, ordered), words=(2,), note=note, first=FIRST_ROWS)
    return Section("Each changed request", tables=(made,))


def request_row(change: ChangedAnswer) -> tuple[str, ...]:
    each, step = change.comparison, change.step
    token = each.token if each.token is not None else each.disturbed_token
    needed = "-" if each.needed_shift is None else f"{'≥ ' * each.at_least}{each.needed_shift:.3g}"
    of_step = ("-",) * 6
    if step is not None:
        of_step = (
            f"{step.batch_size}",
            f"{step.prefill_tokens}",
            f"{step.kv_occupancy:.0%}",
            f"{step.preemptions}",
            f"{step.recomputed_tokens}",
            step.graph_mode or "-",
        )
    return (
        each.prompt_id,
        f"{change.load:g}",
        kind_words(each),
        "-" if token is None else f"{token}",
        needed,
        *of_step,
        each.why,
    )


def kind_words(each: ComparedAnswer) -> str:
    return each.kind.value if each.disturbed_token is None else f"{each.kind.value}, disturbed"


def doubts(curve: CurveIntegrity) -> Iterator[str]:
    """Yield how near-ties were told from faults, how the effects were tested, and what was left out."""
    yield from noise_words(curve.noise) if curve.noise else (NO_LOGPROBS,)
    if curve.first_moved is not None:
        yield f"No margin moved in a sequence shorter than {curve.first_moved:,} tokens (prompt and answer)."
    yield from left_out(curve)
    if curve.changed:
        yield TESTS
        for test in curve.tests:
            units = " Whole runs are the units." if test.by_runs else ""
            yield f"{capitalized(test.cause)}: {odds_words(test)}.{units}"
        here = "vLLM's attention on the CPU does not" if curve.on_cpu else "the engine log names the backend"
        yield f"float32 (dtype) makes near-ties rarer. {BATCH_INVARIANT}; {here}."


NO_LOGPROBS = (
    "Without log-probabilities a near-tie cannot be told from a fault: [answers] logprobs = true, or --check-integrity."
)
TESTS = (
    "Tests of the hypothesis that divergence does not depend on a cause: load within each prompt; batch size at the "
    "same token of the same prompt, in the runs that had not diverged before it; preemption and recomputation before "
    "the token, among the requests of a run that had not diverged before it. Events are shuffled within these strata; "
    "the odds ratio is of a conditional logistic regression, its interval of that test alone, p corrected for all "
    "tests (Holm). Requests of one run share its batches, so that p of the load is too small where whole runs are not "
    "the units."
)


def noise_words(noise: MarginNoise) -> Iterator[str]:
    share = f"{noise.shifted:,} of {noise.tokens:,} margins between the chosen and the second-best token"
    if noise.limit is None:
        yield (
            f"Noise of numerics, where both runs chose the same tokens: {share} moved, too few to measure it. A change "
            f"counts as a fault if it needs a larger shift than {noise.smallest_margins:.3g}, which is more than the "
            "smallest tenth of all margins."
        )
        return
    yield (
        f"Noise of numerics, where both runs chose the same tokens: {share} moved, by up to {noise.largest:.3g} "
        f"(natural logarithm). A change that needs a shift of up to {noise.limit:.3g} is a near-tie: the upper end, "
        "with a chance of 5% for the whole comparison, of shifts weighted by their size."
    )
    yield (
        f"A request is disturbed if before its first divergent token a margin moved by more than "
        f"{noise.disturbance:.3g}, or the margins of {STRETCH} tokens in a row by more than "
        f"{noise.stretch_disturbance:.3g} together (root of the sum of squares). With a chance of at most "
        f"{DISTURBED_CHANCE:.0%} any request of the comparison without a fault is called disturbed, if the tail of the "
        "noise is exponential: where only one is, measure again."
    )


def left_out(curve: CurveIntegrity) -> Iterator[str]:
    if other := sum(level.other_prompts for level in curve.levels):
        yield (
            f"{counted(other, 'request')} had another prompt than in the reference run, such as a later turn after "
            "another answer, and so was not compared."
        )
    if unfinished := sum(level.not_compared for level in curve.levels):
        yield f"{counted(unfinished, 'request')} did not end in one of the runs and so was not compared."
