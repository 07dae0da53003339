"""Markdown beside its golden file: what is folded, and names that are only names."""

from __future__ import annotations

from engine_probe.report.document import Document, Section, says
from engine_probe.report.renderers.markdown import markdown


def test_only_what_is_always_shown_stands_open() -> None:
    parts = (Section("Curve", sentences=says(["folded"])), Section("Verdict", sentences=says(["open"]), shown="always"))
    lines = markdown(
        Document("Title", "", Section(sentences=says(["first"]), parts=parts, shown="always"))
    ).splitlines()
    assert "<details><summary>Curve</summary>" in lines
    assert lines.index("- folded") < lines.index("</details>") < lines.index("### Verdict") < lines.index("- open")


def test_nothing_in_a_name_is_markup() -> None:
    hostile = "~~x~~ *y* [z](u) <b> `c` @team | # \\"
    text = markdown(Document(hostile, hostile, Section(sentences=says([hostile], "plain"), shown="always")))
    body = text.replace("## ", "", 1).replace("- ", "", 1)
    assert not set(body) & set("~*[]<>`@|\\")
