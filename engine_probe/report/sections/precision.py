"""What precision costs and gives, as a table with published rows below the measured ones, and as a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from engine_probe.analysis.compare.changes import SIGNIFICANT, Change
from engine_probe.analysis.compare.perplexity import Perplexity
from engine_probe.evaluation.precision import JUDGED, Engine, engines, text_definition
from engine_probe.evaluation.published import Reference
from engine_probe.recordings.perplexity import TextPoint
from engine_probe.recordings.sweep import Swept
from engine_probe.report.charts.precision import trade
from engine_probe.report.renderers.forest_plot import forest
from engine_probe.report.renderers.html_elements import Html, element, grid, joined, says
from engine_probe.report.renderers.html_page import Page
from engine_probe.report.sections.memory import gib
from engine_probe.text_format import plain

LEAST = 0.001  # to either side of no change: a tenth of a percent of perplexity is a difference
HEAD = "What precision costs and gives"
TITLES = ("engine", "computes in", "perplexity", "change", "output tokens/s", "weights", "KV tokens")
STYLES = {"better": "green", "worse": "red", "not shown to differ": "dim", "no repeats": "dim"}
SHOWN = {"not shown to differ": "not shown to differ", "no repeats": "a single window"}


def precision_view(swept: Swept) -> Iterator[RenderableType]:
    found = engines(swept)
    if not found:
        yield from (Text(plain(said)) for said in nothing_beside(swept.reference))
        return
    yield Text(f"\n{HEAD}", "bold")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for number, title in enumerate(TITLES):
        words = number < 2  # the ones to give way where the terminal is narrow: figures are never cut
        name = title.replace("tokens", "\ntokens").strip()
        table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for each in found:
        name, *rest = row(each)
        style = STYLES[each.change.verdict] if each.change else ""
        table.add_row(Text(plain(name)), *(Text(lines(cell), style if at == 2 else "") for at, cell in enumerate(rest)))
    for cells in published_rows(swept.reference):
        table.add_row(*(Text(plain(cell), "dim") for cell in cells))
    yield table
    yield from (Text(plain(said)) for said in sentences(found))
    yield from (Text(plain(said), "dim") for said in what_was_asked(swept))


def lines(cell: str) -> str:
    """A figure, and below it how sure it is or what it is relative to."""
    return re.sub(r" (?=[±(])", "\n", plain(cell))


def text_view(text: TextPoint) -> Iterator[Text]:
    """One engine by itself."""
    known = text.perplexity
    if text.measured is None or known is None:
        yield Text(plain(f"No perplexity: {text.why_not}"), "red")
    else:
        yield Text(plain(f"Perplexity {perplexity_words(known)}: {text.measured.precision.words}"), "bold")
        rate = sum(text.measured.window_tokens) / text.measured.seconds
        yield Text(plain(f"{text.measured.model}, {rate:,.0f} tokens/s"))
    yield from (Text(plain(said), "dim") for said in text_definition([text]))


def precision_section(page: Page, swept: Swept) -> Iterator[Html]:
    found = engines(swept)
    if not found:
        yield from (element("p", said) for said in nothing_beside(swept.reference))
        return
    yield element("h2", HEAD)
    yield grid(TITLES, [*map(row, found), *published_rows(swept.reference)], text=(0, 1))
    yield says(sentences(found))
    changes = [(each.name, each.change) for each in found if each.change]
    if changes:
        title = f"Change of perplexity against {found[0].name}"
        note = "A dot is the change over the same windows, its bar the interval at 95 % of this one change."
        yield element("figure", element("h3", title), element("figcaption", note), forest(changes, title, LEAST))
    yield from map(page.figure, trade(found, swept.reference))
    yield joined(element("p", said, class_="soft") for said in what_was_asked(swept))


def row(each: Engine) -> list[str]:
    text = each.text
    rate = "-" if each.rate is None else f"{each.rate.mean:,.1f}"
    rate += f" ± {spread(each.rate.reach)}" if each.rate and each.rate.reach is not None else ""
    held = "-" if each.weights_bytes is None else gib(each.weights_bytes)
    return [
        each.name,
        text.measured.precision.words if text.measured else "-",
        perplexity_cell(each),
        change_cell(each),
        rate + times(each.relative_rate),
        held + times(each.relative_weights),
        "-" if each.kv_tokens is None else f"{each.kv_tokens:,}",
    ]


def perplexity_cell(each: Engine) -> str:
    known = each.text.perplexity
    return "-" if known is None else perplexity_words(known)


def perplexity_words(known: Perplexity) -> str:
    return f"{known.value:.4f}" + ("" if known.reach is None else f" ± {spread(known.reach)}")


def spread(reach: float) -> str:
    return f"{reach:,.0f}" if reach >= 10 else f"{reach:.2g}"


def change_cell(each: Engine) -> str:
    if each.change is None or each.change.relative is None:
        return "-"
    return signed(each.change.relative) + ends(each.change)


def ends(change: Change) -> str:
    interval = change.relative_interval
    return "" if interval is None else f" ({signed(interval[0])} to {signed(interval[1])})"


def signed(share: float) -> str:
    return f"{100 * share:+.2f}%" if abs(share) < 0.1 else f"{100 * share:+.1f}%"


def times(ratio: float | None) -> str:
    return "" if ratio is None else f" (× {ratio:.2f})"


def sentences(found: Sequence[Engine]) -> Iterator[str]:
    """What each does against the first, and why where that cannot be said."""
    base, *others = found
    if base.text.perplexity is None:
        yield f"{base.name} has no perplexity, so nothing is held against it: {base.text.why_not}."
        return
    for each in others:
        if each.change is None or each.change.relative is None:
            yield f"{each.name} is not held against {base.name}: {each.why_not}."
            continue
        yield f"{each.name} against {base.name}: {quality_words(each.change)}{rate_words(each)}{weight_words(each)}."


def quality_words(change: Change) -> str:
    if change.verdict in SHOWN:
        return f"perplexity {SHOWN[change.verdict]}{ends(change)}"
    return f"perplexity is {change.verdict}, {signed(change.relative or 0)}{ends(change)}"


def rate_words(each: Engine) -> str:
    if each.relative_rate is None:
        return ""
    if each.rate_p is None:
        judged = "without repeats"
    else:
        judged = "repeats show it" if each.rate_p < SIGNIFICANT else "repeats do not show that they differ"
    return f"; {each.relative_rate:.2f} times its highest output tokens/s (at {each.at}, {judged})"


def weight_words(each: Engine) -> str:
    return "" if each.relative_weights is None else f"; {each.relative_weights:.2f} times its weights"


def published_rows(reference: Reference | None) -> list[list[str]]:
    """Relative to their own first row, as they were published."""
    if reference is None or not reference.precisions:
        return []
    first = reference.precisions[0]
    return [
        [
            f"published: {each.name}",
            "",
            f"{each.perplexity:g}",
            "-" if each is first else signed(each.perplexity / first.perplexity - 1),
            f"× {each.throughput:.2f}",
            f"× {each.memory:.2f}",
            "",
        ]
        for each in reference.precisions
    ]


def nothing_beside(reference: Reference | None) -> Iterator[str]:
    if reference is not None and reference.precisions:
        yield f"Published: {reference.title}. Nothing is beside it: this sweep has no [quality]."


def what_was_asked(swept: Swept) -> list[str]:
    return [*text_definition(swept.texts), JUDGED, *source(swept.reference)]


def source(reference: Reference | None) -> Iterator[str]:
    if reference is not None and reference.precisions:
        yield f"Published: {reference.title}. {reference.source}. {reference.doubt}"
