"""The page of planted faults states what was found, with intervals, and what was accused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.simulated_faults import Count, Rates
from tools import planted_faults


def test_what_surely_misses_the_aim_is_told_from_what_does_not_show_it() -> None:
    counts = {name: Count(runs=1000, runs_found=found) for name, found in (("a", 900), ("b", 955), ("c", 990))}
    assert [line.split(",")[0] for line in planted_faults.missed(counts)] == ["**Missed", "**Not shown"]


def test_the_page_has_rates_with_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Count(planted=10, found=5, named=4, runs=2, runs_found=2, clean=990, accused=0)
    clean = Count(runs=2, clean=1000, accused=1)
    blocks = Count(planted=10, found=5, runs=20, runs_found=18, clean=990, visible=6, visible_found=5, runs_visible=19)
    found = Rates(clean, {"lost token": count, "wrong KV block": blocks})
    monkeypatch.setattr(planted_faults, "rates", lambda seeds: found)
    monkeypatch.setattr(planted_faults, "text_rates", lambda seeds, detector: {"language switch": count})
    page = tmp_path / "page.md"
    monkeypatch.setattr("sys.argv", ["planted_faults", "--seeds", "2", "--write", str(page)])
    planted_faults.main()
    text = page.read_text()
    assert "1 of 1000 (at most 0.556%) are accused" in text
    row = "5 of 10 | 18.7% to 81.3% | 40.0% | 2 of 2 (at least 15.8%) | 0 of 990 (at most 0.372%) |"
    assert f"| lost token | {row}" in text
    assert f"| language switch | {row}" in text
    aimed = "Not shown, 95% of the runs:** of those with a"
    assert f"{aimed} wrong KV block, 90.0% show one (68.3% to 98.8%)" in text
    assert f"{aimed} lost token, 100.0% show one (15.8% to 100.0%)" in text
    words = " ".join(text.split())
    assert "are missed:** with 4 of 10 the largest move of a margin" in words
    assert "Of the 6 others 83.3% are found; 19 of 20 runs have one." in words
