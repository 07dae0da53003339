"""A document in a terminal is shortened until it fits: what is least missed goes first, cautions last."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from engine_probe.report.brief_document import LINES
from engine_probe.report.document import (
    ANSWER,
    ASKED,
    EXTRA,
    Column,
    Document,
    Section,
    Sentence,
    Table,
    says,
    sure,
    table,
)
from engine_probe.report.renderers.terminal import print_document

WIDTH = 100
MORE = "--verbose shows more."


def shown(document: Document, lines: int | None = LINES, verbose: bool = False) -> list[str]:
    console = Console(file=StringIO(), width=WIDTH, color_system=None)
    print_document(document, console, verbose, MORE, lines)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def levels(count: int, telling: tuple[int, ...] = ()) -> Table:
    return Table(
        (Column("load"),), tuple((f"level {number}",) for number in range(count)), telling=telling, row="level"
    )


def section(name: str, sentences: int) -> Section:
    return Section(name, sentences=says(f"{name} {number}." for number in range(sentences)), shown="always")


def verdict(*sentences: Sentence, tables: tuple[Table, ...] = ()) -> Section:
    return Section(sentences=sentences, tables=tables, shown="always")


def test_what_fits_is_shown_whole_but_for_details() -> None:
    explained = replace(verdict(Sentence("So it is."), tables=(levels(3),)), details=sure("Because of this."))
    document = Document("Title", "origin", explained)
    lines = shown(document)
    assert "So it is." in lines
    assert MORE in lines
    assert "Because of this." not in lines
    assert "Because of this." in shown(document, verbose=True)


def test_nothing_more_is_promised_of_what_is_whole() -> None:
    assert MORE not in shown(Document("Title", "origin", verdict(Sentence("So it is."))))


def test_later_sections_go_before_the_verdict() -> None:
    document = Document("Title", "", verdict(*says(["First.", "Second."])), (section("near", 8), section("far", 20)))
    lines = shown(document)
    assert len(lines) <= LINES
    assert {"First.", "Second.", "near", "near 7."} <= set(lines)
    assert "far" not in lines


def test_notes_and_pale_sentences_go_first() -> None:
    noted = table(("load",), [(f"level {number}",) for number in range(12)], note="A note.")
    pale = Sentence("Pale.", "soft")
    document = Document("Title", "", verdict(Sentence("So."), pale, tables=(noted,)), (section("near", 7),))
    lines = shown(document)
    assert len(lines) <= LINES
    assert not {"A note.", "Pale."} & set(lines)
    assert {"near", "near 6."} <= set(lines)


def test_the_most_telling_levels_are_kept_in_their_order() -> None:
    document = Document(
        "Title", "", verdict(Sentence("So."), tables=(levels(40, (0, 39, 17, *range(1, 17), *range(18, 39))),))
    )
    lines = shown(document)
    kept = [line.strip() for line in lines if line.strip().startswith("level ")]
    assert len(lines) <= LINES
    assert kept == sorted(kept, key=lambda line: int(line.split()[1]))
    assert {"level 0", "level 17", "level 39"} <= set(kept)
    assert f"{40 - len(kept)} more levels: --verbose" in lines
    assert sum(line.strip().startswith("level ") for line in shown(document, verbose=True)) == 40


def test_cautions_outlast_sentences_and_those_left_out_are_counted() -> None:
    cautions = says((f"Caution {number}." for number in range(30)), "caution")
    lines = shown(Document("Title", "", verdict(*cautions, *says(f"Plain {number}." for number in range(4)))))
    kept = [line for line in lines if line.startswith("Caution")]
    assert len(lines) == LINES
    assert kept == [f"Caution {number}." for number in range(len(kept))]
    assert f"{30 - len(kept)} more cautions: --verbose" in lines
    assert [line for line in lines if line.startswith("Plain")] == ["Plain 0.", "Plain 1."]


def test_problems_outlast_cautions() -> None:
    cautions = says((f"Caution {number}." for number in range(30)), "caution")
    lines = shown(Document("Title", "", verdict(*cautions, *says(["A problem."], "problem"))))
    assert len(lines) == LINES
    assert "A problem." in lines


def test_what_an_option_asked_for_outlasts_answers() -> None:
    filler = says(f"Plain {number}." for number in range(30))
    rare, answer, asked = (Sentence(f"{rank}", rank=rank) for rank in (EXTRA, ANSWER, ASKED))
    lines = shown(Document("Title", "", verdict(rare, *filler, answer, asked)))
    assert len(lines) == LINES
    assert {str(ANSWER), str(ASKED)} <= set(lines)
    assert str(EXTRA) not in lines


def test_a_section_that_was_asked_for_outlasts_others() -> None:
    asked = replace(section("asked", 8), asked=True)
    lines = shown(Document("Title", "", verdict(*says(["First."])), (section("other", 18), asked)))
    assert len(lines) <= LINES
    assert {"asked", "asked 7."} <= set(lines)
    assert "other" not in lines


def test_what_fits_comes_back() -> None:
    """Hiding a long section makes room for the notes that were taken away before it."""
    noted = table(("load",), [("level 0",)], note="A note.")
    lines = shown(Document("Title", "", verdict(Sentence("So."), tables=(noted,)), (section("far", 30),)))
    assert "A note." in lines
    assert "far" not in lines


def test_one_table_of_all_curves_stands_for_several() -> None:
    overview = Table((Column("settings", words=True),), tuple((f"curve {number}",) for number in range(3)))
    curves = replace(verdict(Sentence("So."), tables=(levels(9), levels(9), levels(9))), overview=overview)
    lines = shown(Document("Title", "", curves))
    assert len(lines) <= LINES
    assert {"curve 0", "curve 1", "curve 2"} <= {line.strip() for line in lines}
    assert not any(line.strip().startswith("level ") for line in lines)


def test_a_long_cell_is_cut_to_one_line() -> None:
    long = Table((Column("settings", words=True), Column("rate")), tuple(("word " * 60, str(n)) for n in range(6)))
    lines = shown(Document("Title", "", verdict(Sentence("So."), tables=(long,))))
    assert len(lines) <= LINES
    assert [line.split()[-1] for line in lines if "…" in line] == [str(n) for n in range(6)]


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    names = tuple((f"first {'and ' * 60}last {number}",) for number in range(9))
    lines = shown(Document("Title", "", verdict(tables=(Table((Column("name", words=True, is_name=True),), names),))))
    assert [line.split()[-1] for line in lines if line.startswith("first ")] == [str(number) for number in range(9)]


def test_of_several_reports_a_few_lines_each_are_shown_and_what_is_common_once() -> None:
    common = Sentence("All of them are predicted.", "caution")
    reports = tuple(
        replace(section(f"sweep {number}", 9), sentences=(common, *section(f"sweep {number}", 9).sentences), answers=2)
        for number in range(20)
    )
    lines = shown(Document("Title", "", verdict(Sentence("20 of 20.")), reports))
    assert lines.count(common.text) == 1
    assert [line for line in lines if line.startswith("sweep 7")] == ["sweep 7", "sweep 7 0.", "sweep 7 1."]
    assert lines[-1] == MORE


def test_wrapped_lines_count() -> None:
    """A sentence of a command is not broken into lines, but the terminal needs several for it."""
    long = Sentence("word " * 50, command=True)
    document = Document("Title", "", verdict(*says(f"Plain {number}." for number in range(16)), *[long] * 3))
    assert sum(1 + (len(line) - 1) // WIDTH for line in shown(document)) <= LINES


def test_without_a_limit_everything_is_shown() -> None:
    lines = shown(Document("Title", "", verdict(Sentence("So."), tables=(levels(60),))), lines=None)
    assert "So." in lines
    assert sum(line.strip().startswith("level ") for line in lines) == 60
