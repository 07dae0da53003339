"""The effect of precision on perplexity, throughput and memory: sentences, charts, and a table with published rows."""

from collections.abc import Iterator, Sequence
from functools import partial

from engine_probe.analysis.compare.changes import Change
from engine_probe.analysis.statistics.student import SIGNIFICANT
from engine_probe.evaluation.precision import JUDGED, ScoredEngine, engines, text_definition
from engine_probe.evaluation.published.reference import Reference
from engine_probe.recordings.perplexity import TextPoint
from engine_probe.recordings.sweep import Swept
from engine_probe.report.charts.model import Axis, Lines, Series
from engine_probe.report.charts.published import PUBLISHED_COLOUR
from engine_probe.report.document import Cell, Column, Document, Forest, Picture, Section, Tone, says, sure, table
from engine_probe.report.sections.compare.change_words import (
    PERPLEXITY_DIGITS,
    TONES,
    VERDICTS,
    change_words,
    interval_words,
    signed,
)
from engine_probe.text_format import byte_size, rate_words

LEAST = 0.001  # to either side of no change: a tenth of a percent of perplexity is a difference
HEAD = "Effect of precision"
TITLES: tuple[Column | str, ...] = (
    *("engine", "computes in", "perplexity", "per word", "change", "output\ntokens/s", "weights"),
    Column("KV\ntokens", room="spare"),
)
PER_WORD = TITLES.index("per word")
NOT_JUDGED = {"not shown to differ": VERDICTS["not shown to differ"], "not tested": "not tested, a single window"}


def precision_section(swept: Swept, reference: Reference | None) -> Section:
    found = engines(swept)
    if not found:
        return Section(sentences=says(nothing_beside(reference)), shown="always", asked=True)
    rows = [*map(row, found), *published_rows(reference)]
    titles = list(TITLES)
    if all(each.text.word_perplexity is None for each in found):
        del titles[PER_WORD]
        rows = [(*cells[:PER_WORD], *cells[PER_WORD + 1 :]) for cells in rows]
    return Section(
        HEAD,
        sentences=says(sentences(found)),
        charts=partial(precision_charts, found, reference),
        tables=(table(titles, rows, words=(0, 1)),),
        details=sure(*text_definition(swept.texts), JUDGED, *source(reference)),
        shown="always",
        asked=True,
    )


def precision_charts(found: Sequence[ScoredEngine], reference: Reference | None) -> Iterator[Picture]:
    changes = tuple((each.name, each.change) for each in found if each.change)
    if changes:
        note = "A dot is the change over the same windows, its bar the 95% interval of this single change."
        yield Forest(f"Change of perplexity against {found[0].name}", note, changes, LEAST)
    yield from trade(found, reference)


def text_document(text: TextPoint) -> Document:
    """Return the perplexity of a single engine."""
    perplexity, definition = text.perplexity, sure(*text_definition([text]))
    if text.measured is None or perplexity is None:
        return Document(
            "No perplexity", "", Section(sentences=says([f"{text.why_not}"], "problem"), details=definition)
        )
    rate = sum(text.measured.window_tokens) / text.measured.seconds
    engine = says([f"{text.measured.model}, {rate:,.0f} tokens/s"])
    value = f"{perplexity.value:.4f} {plus_minus(perplexity.reach)}".rstrip()
    if (words := text.word_perplexity) is not None:
        value = f"{value} per token, {words:.4f} per word"
    title = f"Perplexity {value}: {text.measured.precision.words}"
    return Document(title, "", Section(sentences=engine, details=definition))


def row(each: ScoredEngine) -> tuple[Cell | str, ...]:
    text, rate, change = each.text, each.rate, each.change
    perplexity = text.perplexity
    below_rate = f"{plus_minus(rate.reach if rate else None)} {times(each.relative_rate)}".strip()
    return (
        each.name,
        text.measured.precision.words if text.measured else "-",
        Cell(f"{perplexity.value:.4f}", below=plus_minus(perplexity.reach)) if perplexity else "-",
        "-" if text.word_perplexity is None else f"{text.word_perplexity:.4f}",
        Cell(*change_cell(change)) if change else "-",
        Cell(rate_words(rate.mean), below=below_rate) if rate else "-",
        "-" if each.weights_bytes is None else Cell(byte_size(each.weights_bytes), below=times(each.relative_weights)),
        "-" if each.kv_tokens is None else f"{each.kv_tokens:,}",
    )


def plus_minus(reach: float | None) -> str:
    return "" if reach is None else f"± {reach:,.0f}" if reach >= 10 else f"± {reach:.2g}"


def change_cell(change: Change) -> tuple[str, Tone, str]:
    if change.relative is None:
        return "-", "plain", ""
    return change_words(change), TONES[change.verdict], ends(change).strip()


def ends(change: Change) -> str:
    return "" if change.relative_interval is None else f" ({interval_words(change)})"


def times(ratio: float | None) -> str:
    return "" if ratio is None else f"(× {ratio:.2f})"


def sentences(found: Sequence[ScoredEngine]) -> Iterator[str]:
    """Yield the change of each engine against the first, or why it is not known."""
    base, *others = found
    if base.text.perplexity is None:
        yield f"{base.name} has no perplexity, so nothing is compared with it: {base.text.why_not}."
        return
    for each in others:
        if each.change is None or each.change.relative is None:
            yield f"{each.name} is not compared with {base.name}: {each.why_not}."
            continue
        weights = "" if each.relative_weights is None else f"; weights × {each.relative_weights:.2f}"
        yield f"{each.name} against {base.name}: {quality_words(each.change)}{throughput_words(each)}{weights}."


def quality_words(change: Change) -> str:
    if change.verdict in NOT_JUDGED:
        return f"perplexity {change_words(change)}{ends(change)}, {NOT_JUDGED[change.verdict]}"
    return f"perplexity is {change.verdict}, {change_words(change)}{ends(change)}"


def throughput_words(each: ScoredEngine) -> str:
    if each.relative_rate is None:
        return ""
    if each.rate_p is None:
        judged = "without repeats"
    else:
        judged = "significant" if each.rate_p < SIGNIFICANT else "not significant"
    return f"; highest throughput × {each.relative_rate:.2f} (at {each.at}, {judged})"


def published_rows(reference: Reference | None) -> list[tuple[Cell | str, ...]]:
    """Return the published figures; changes are relative to the first of them."""
    if reference is None or not reference.precisions:
        return []
    first = reference.precisions[0]
    return [
        (
            Cell(f"published: {each.name}", "soft"),
            "",
            f"{each.perplexity:g}",
            "",
            "-" if each is first else signed(each.perplexity / first.perplexity - 1, PERPLEXITY_DIGITS),
            f"× {each.throughput:.2f}",
            f"× {each.memory:.2f}",
            "",
        )
        for each in reference.precisions
    ]


def nothing_beside(reference: Reference | None) -> Iterator[str]:
    if reference is not None and reference.precisions:
        yield f"Published: {reference.title}. Nothing was measured beside it: this sweep has no [quality]."


def source(reference: Reference | None) -> Iterator[str]:
    if reference is not None and reference.precisions:
        yield f"Published: {reference.title}. {reference.source}. {reference.doubt}"


def trade(found: Sequence[ScoredEngine], reference: Reference | None) -> Iterator[Lines]:
    """Yield the chart; each engine is relative to the first one, published figures to their own first one."""
    dots: list[tuple[str, float, float, tuple[float, float] | None]] = []
    for number, engine in enumerate(found):
        change = 0.0 if number == 0 else engine.change.relative if engine.change else None
        if engine.relative_rate is not None and change is not None:
            interval = engine.change.relative_interval if engine.change else None
            dots.append((engine.name, engine.relative_rate, change, interval))
    if len(dots) < 2:
        return
    published = reference.precisions if reference else []
    for figure in published:
        change = figure.perplexity / published[0].perplexity - 1
        dots.append((f"published: {figure.name}", figure.throughput, change, None))
    xs = sorted({x for _, x, *_ in dots})

    def at(place: float, value: float | None) -> list[float | None]:
        return [None if value is None or x != place else 100 * value for x in xs]

    yield Lines(
        title="Perplexity against throughput",
        note=f"Relative to {found[0].name}, throughput at the best load of each; bars: 95% over the same windows.",
        x=Axis("output tokens/s, relative"),
        y=[Axis("change of perplexity", "%")],
        xs=list(xs),
        series=[
            Series(
                name,
                at(x, change),
                0,
                "dots",
                PUBLISHED_COLOUR if number >= len(dots) - len(published) else number,
                low=at(x, ends[0]) if ends else [],
                high=at(x, ends[1]) if ends else [],
            )
            for number, (name, x, change, ends) in enumerate(dots)
        ],
    )
