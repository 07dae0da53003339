"""A short campaign with a fixed seed: kills at random moments, hosts that lack something, a run of 20,000 steps."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.page import put_section


def test_a_section_is_replaced_and_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "results" / "hostile.md"
    for title, text in (("One", "old"), ("Two", "kept"), ("One", "new")):
        put_section(page, title, [text])
    assert "old" not in page.read_text()
    assert page.read_text().count("## One") == page.read_text().count("## Two") == 1
