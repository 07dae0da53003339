"""The page about answers under load names each claim with what was measured, and keeps notes written by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.answers.simulated_answers import normal
from tests.support.sweeps.answered_sweeps import Answered, cut, write_answered_sweep
from tools.results.answers import integrity_results


def page(folder: Path, *runs: Answered) -> str:
    folder.mkdir()
    return "\n".join(integrity_results.document([write_answered_sweep(folder, runs)]))


def test_unchanged_answers_are_told_claim_by_claim(tmp_path: Path) -> None:
    told = page(tmp_path / "exact", Answered(1), Answered(1), Answered(32, blocks=40))
    assert f"| {integrity_results.CHANGED} | exact: no answer changed (0 of 24 at 1, 0 of 24 at 32). |" in told
    assert "exact: 0 cut short, 0 failed (" in told
    assert "## exact" in told


@pytest.mark.lengthy
def test_divergence_is_told_with_its_tests(tmp_path: Path) -> None:
    told = page(tmp_path / "noisy", Answered(1), Answered(32, normal(0.05), blocks=40))
    assert "at near-ties, 0 that numerics do not explain; batch size" in told
    assert "no margin moved below 48 tokens of context" in told
    (row,) = (line for line in told.splitlines() if line.startswith("| noisy | "))
    assert " of 24 | 0 | " in row


def test_cut_answers_are_counted(tmp_path: Path) -> None:
    assert "cut: 1 cut short, 0 failed" in page(tmp_path / "cut", Answered(1), Answered(8, damage=cut(5, 20)))


def test_notes_below_the_page_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = write_answered_sweep(tmp_path, [Answered(1), Answered(8)]), tmp_path / "page.md"
    file.write_text("old\n\n## Notes\n\nBy hand.\n")
    monkeypatch.setattr(sys, "argv", ["integrity_results.py", str(folder), "--write", str(file)])
    integrity_results.main()
    assert file.read_text().startswith(integrity_results.TOP)
    assert file.read_text().endswith("\n## Notes\n\nBy hand.\n")
