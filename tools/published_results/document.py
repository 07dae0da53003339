"""The page: a table for each section of each document, a row for each of its figures."""

from collections.abc import Iterator
from typing import NamedTuple

from engine_probe.evaluation.published.documents import (
    DOCUMENTS,
    DocumentSection,
    Stated,
    read_document,
    references_of,
)
from engine_probe.evaluation.published.figures import FIGURES, four_digits
from engine_probe.evaluation.published.reference import Published, Reference
from engine_probe.report.sections.sweep.published import published_words
from tools.published_results.ours import (
    JUDGED,
    NEEDS_A_GPU,
    Recorded,
    ours_of,
    ours_of_claim,
    ours_of_figure,
    ours_of_memory,
    printed,
)
from tools.result_page import table

HEAD = """\
# The published figures, and ours

Made by `python -m tools.published_results --write docs/results/published.md` from the reference data in
engine_probe/evaluation/published; `--measure` also runs the bursts again that need no GPU (two minutes).

- Published: as printed, with its kind. *measured*, *expected* (a target), *claim* (said without a measurement),
  *setting*, *specification*, *price*, *quoted* (from somebody else).
- Ours: computed from the figures beside it or from a model's config.json, read in a shipped sweep, or measured without
  a GPU (vLLM's own scheduler and block manager with pools of the published sizes and no model, or the embedded smollm2
  on two CPU cores, of which only ratios compare). If there is none, the column says what it would need.
- Three capacities of the KV cache are withheld in our copy of the thesis. Nothing here is made to fit them.
"""
COLUMNS = ("figure", "published", "kind", "ours", "doubt")


class Row(NamedTuple):
    figure: str
    published: str
    kind: str
    ours: str
    doubt: str
    stands: bool  # whether a figure of ours is in `ours`, not only what would give one

    @property
    def cells(self) -> tuple[str, ...]:
        return self.figure, self.published, self.kind, self.ours, self.doubt


class Section(NamedTuple):
    title: str
    doubts: tuple[str, ...]  # of the whole tables in it
    rows: tuple[Row, ...]


def sections(name: str, recorded: Recorded) -> Iterator[Section]:
    """Yield the sections of a document with all their rows."""
    references = references_of(name)
    for section in read_document(name).sections:
        rows = [row for reference in references for row in rows_of_table(reference, section.title, recorded)]
        doubts = [one.doubt for one in references if one.doubt and any(rows_of_table(one, section.title, recorded))]
        yield Section(section.title, tuple(doubts), (*rows, *stated_rows(section, recorded)))


def rows_of_table(reference: Reference, title: str, recorded: Recorded) -> Iterator[Row]:
    """Yield the rows of a table of figures that belong to this section."""
    for figure in reference.figures:
        if (figure.section or reference.section) == title:
            ours = ours_of_figure(figure, reference, recorded)
            form = FIGURES[figure.what].form
            value = published_words(figure, printed if form is four_digits else form)
            kind = figure.kind or reference.kind
            yield Row(figure_words(figure, reference), value, kind, ours, figure.doubt, ours != NEEDS_A_GPU)
    for precision in reference.precisions if reference.section == title else ():
        memory = ours_of_memory(precision)
        yield Row(f"{precision.name}: perplexity", f"{precision.perplexity:g}", reference.kind, WEIGHTS, "", False)
        yield Row(f"{precision.name}: throughput", f"{precision.throughput:g} x", reference.kind, WEIGHTS, "", False)
        yield Row(f"{precision.name}: memory", f"{precision.memory:g} x", reference.kind, memory, "", True)
    for claim in reference.claims:
        if (claim.section or reference.section) == title:
            ours = ours_of_claim(claim.measure)
            yield Row(claim.claim, claim.published, "claim", ours, claim.doubt, ours != JUDGED)


GPUS = (NEEDS_A_GPU, "12 GPUs", "two GPUs", "a GPU")
WEIGHTS = f"{NEEDS_A_GPU} and such weights; the sweep precision"


def figure_words(figure: Published, reference: Reference) -> str:
    load = "" if figure.at is None else f" at {figure.at:g} {reference.load_in}"
    own = "".join(f", {name} {value}" for name, value in figure.setting.items())
    return f"{figure.model}: {FIGURES[figure.what].words}{load}{own}"


def stated_rows(section: DocumentSection, recorded: Recorded) -> Iterator[Row]:
    for row in section.stated:
        stands = bool(row.check or row.geometry or row.sweep or row.recorded in recorded)
        yield Row(row.what, stated_words(row), row.kind, ours_of(row, recorded), row.doubt, stands)


def stated_words(row: Stated) -> str:
    """Return the value with its unit, or the band: `5 to 10 requests/min`, `at most 9 %`."""
    if row.value is not None:
        text = {True: "on", False: "off"}[row.value] if isinstance(row.value, bool) else row.value
        words = text if isinstance(text, str) else printed(text)
    elif row.low is not None and row.high is not None:
        words = f"{printed(row.low)} to {printed(row.high)}"
    else:
        words = f"at least {printed(row.low)}" if row.low is not None else f"at most {printed(row.high or 0)}"
    return f"{words} {row.unit}".rstrip()


def page(recorded: Recorded) -> Iterator[str]:
    """Yield the lines of the page."""
    documents = {name: list(sections(name, recorded)) for name in DOCUMENTS}
    yield from HEAD.splitlines()
    yield ""
    yield from summary(documents)
    for name, found in documents.items():
        document = read_document(name)
        yield from ("", f"## {document.title}", "", f"{document.source}.")
        for section in found:
            yield from ("", f"### {section.title}", "")
            yield from (line for doubt in section.doubts for line in (f"Doubt about the table: {doubt}", ""))
            rows = ([cell.replace("|", "/") for cell in row.cells] for row in section.rows)
            yield from table(COLUMNS, rows, words=range(len(COLUMNS)))


def summary(documents: dict[str, list[Section]]) -> Iterator[str]:
    """Yield a table: each document's rows, those with a figure of ours beside them, and the doubts."""
    lines = []
    for name, found in documents.items():
        rows = [row for section in found for row in section.rows]
        stand = sum(row.stands for row in rows)
        without = sum(row.ours.startswith(GPUS) and not row.stands for row in rows)
        doubts = sum(bool(row.doubt) for row in rows) + sum(len(set(section.doubts)) for section in found)
        lines.append((read_document(name).title, len(rows), stand, without, doubts))
    yield from table(("document", "rows", "with ours", "need a GPU", "doubts"), lines)
