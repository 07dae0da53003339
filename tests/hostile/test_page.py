"""The page of results keeps what other commands wrote, and its table of verdicts follows its sections."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.hostile.page import HANG, KINDS, TABLE, Verdict, put_section


def test_a_section_and_its_verdict_are_replaced_and_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "results" / "hostile.md"
    put_section(page, "One thing", Verdict("3 kills", Counter({HANG: 2})), ["what it was before"])
    put_section(page, "Two", Verdict("5 inputs", unknown=[TABLE]), ["kept"])
    put_section(page, "One thing", Verdict("4 kills"), ["new"])
    text = page.read_text()
    assert "what it was before" not in text
    assert [text.count(f"\n## {title}\n") for title in ("One thing", "Two", "What is promised, and what is not")] == [
        1
    ] * 3
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert rows == [
        f"| [One thing](#one-thing) | 4 kills |{' 0 |' * len(KINDS)}",
        "| [Two](#two) | 5 inputs | 0 | 0 | - | 0 | 0 | 0 | 0 |",
    ]
