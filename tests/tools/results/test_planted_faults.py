"""The page of planted faults states what was found, with intervals, and what was accused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.answers.simulated_faults import Count, Rates
from tools.results.answers import planted_faults


def test_what_surely_misses_the_aim_is_told_from_what_does_not_show_it() -> None:
    counts = {name: Count(runs=1000, runs_found=found) for name, found in (("a", 900), ("b", 955), ("c", 990))}
    assert [line.split(",")[0] for line in planted_faults.missed(counts)] == ["**Missed", "**Not shown"]


def test_what_is_shown_of_every_kind_is_said_once_by_the_least_of_them() -> None:
    counts = {"a": Count(runs=1000, runs_found=990), "b": Count(runs=1000, runs_found=1000)}
    (line,) = planted_faults.aims(counts, Count(clean=10_000))
    assert line == "**Shown, 95% of the runs:** every kind of fault is found in at least 98.2% of them."


def test_accused_requests_are_held_against_one_in_a_hundred() -> None:
    (_, line) = planted_faults.aims({"a": Count(runs=9, runs_found=9)}, Count(clean=1000, accused=8))
    assert line.startswith("**Not shown:** fewer than 1%")


def test_processes_count_what_one_would() -> None:
    assert Rates(Count(1, 2), {"a": Count(3)}) + Rates(Count(4, 5), {"a": Count(6)}) == Rates(
        Count(5, 7), {"a": Count(9)}
    )


def test_the_page_has_rates_with_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Count(planted=10, found=5, named=4, runs=2, runs_found=2, clean=990, accused=0)
    clean = Count(runs=2, clean=1000, accused=1, runs_accused=1)
    blocks = Count(planted=10, found=5, runs=20, runs_found=18, clean=990, visible=6, visible_found=5, runs_visible=19)
    found = Rates(clean, {"lost token": count, "wrong KV block": blocks})
    monkeypatch.setattr(planted_faults, "counted_rates", lambda seeds, processes: found)
    monkeypatch.setattr(planted_faults, "text_rates", lambda seeds, detector: {"language switch": count})
    page = tmp_path / "page.md"
    monkeypatch.setattr("sys.argv", ["planted_faults", "--seeds", "2", "--write", str(page)])
    planted_faults.main()
    text = page.read_text()
    words = " ".join(text.split())
    assert "1 of 1000 (at most 0.556%) are accused, in 1 of 2 runs (at most 98.74%)." in words
    row = "5 of 10 | 18.7% to 81.3% | 40.0% | 2 of 2 (at least 15.8%) | 0 of 990 (at most 0.372%) |"
    assert f"| lost token | {row}" in text
    assert f"| language switch | {row}" in text
    aimed = "Not shown, 95% of the runs:** of those with a"
    assert f"{aimed} wrong KV block, 90.0% show one (68.3% to 98.8%)" in text
    assert f"{aimed} lost token, 100.0% show one (15.8% to 100.0%)" in text
    assert "are missed:** with 4 of 10 the largest move of a margin" in words
    assert "Of the 6 others 83.3% are found; 19 of 20 runs have one." in words
