"""A document in a terminal is shortened until it fits: what is least missed goes first, cautions stay."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from engine_probe.report.brief_document import LINES
from engine_probe.report.document import Column, Document, Section, Sentence, Table, says, table
from engine_probe.report.renderers.terminal import print_document

WIDTH = 100
MORE = "--verbose shows more."


def shown(document: Document, lines: int | None = LINES, verbose: bool = False) -> list[str]:
    console = Console(file=StringIO(), width=WIDTH, color_system=None)
    print_document(document, console, verbose, MORE, lines)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def levels(count: int, telling: tuple[int, ...] = ()) -> Table:
    return Table((Column("load"),), tuple((f"level {number}",) for number in range(count)), telling=telling)


def section(name: str, sentences: int) -> Section:
    return Section(name, sentences=says(f"{name} {number}." for number in range(sentences)), shown="always")


def verdict(*sentences: Sentence, tables: tuple[Table, ...] = ()) -> Section:
    return Section(sentences=sentences, tables=tables, shown="always")


def test_what_fits_is_shown_whole_but_for_details() -> None:
    because = Sentence("Because of this.", detail=True)
    document = Document("Title", "origin", verdict(Sentence("So it is."), because, tables=(levels(3),)))
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


def test_cautions_stay_however_many_there_are() -> None:
    cautions = says((f"Caution {number}." for number in range(30)), "caution")
    lines = shown(Document("Title", "", verdict(*cautions, *says(f"Plain {number}." for number in range(4)))))
    assert sum(line.startswith("Caution") for line in lines) == 30
    assert [line for line in lines if line.startswith("Plain")] == ["Plain 0.", "Plain 1."]


def test_wrapped_lines_count() -> None:
    """A sentence of a command is not broken into lines, but the terminal needs several for it."""
    long = Sentence("word " * 50, command=True)
    document = Document("Title", "", verdict(*says(f"Plain {number}." for number in range(16)), *[long] * 3))
    assert sum(1 + (len(line) - 1) // WIDTH for line in shown(document)) <= LINES


def test_without_a_limit_everything_is_shown() -> None:
    lines = shown(Document("Title", "", verdict(Sentence("So.", detail=True), tables=(levels(60),))), lines=None)
    assert "So." in lines
    assert sum(line.strip().startswith("level ") for line in lines) == 60
