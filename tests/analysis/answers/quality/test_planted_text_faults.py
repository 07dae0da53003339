"""Leaked prompts and switches of language in one answer of a hundred are found, and right answers are not accused."""

from __future__ import annotations

import pytest

from engine_probe.analysis.answers.quality.language import language_detector
from tests.support.answers.simulated_text_faults import KINDS, LANGUAGES, text_rates


@pytest.mark.lengthy
def test_text_faults_are_found_in_every_run() -> None:
    pytest.importorskip("lingua", reason="no lingua is installed")
    counts = text_rates(range(10), language_detector(LANGUAGES))
    assert counts.keys() == KINDS.keys()
    for name, count in counts.items():
        assert count.runs_found == count.runs == 10, name
        assert count.found >= 0.8 * count.planted, name
        assert count.accused < 0.01 * count.clean, name
