"""Loops and near-loops are repetitive; prose and lists are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine_probe.analysis.answers.quality.repetition import repeats_itself
from tests.support.answers.model_answers import ANSWERS

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    "text",
    [
        "The answer is B. " * 6,
        "no " * 20,
        "It began well. " + "The king of the country was the king of the country. " * 8,
        " ".join(f"In the year {year} the king of the old country went to the war." for year in range(1400, 1412)),
        "Jawapan yang betul ialah B kerana " * 5,
    ],
)
def test_repetition_is_found(text: str) -> None:
    assert repeats_itself(text).value is True


@pytest.mark.parametrize(
    "text", ["no no no", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13", "very, very good", "A. B. A. B."]
)
def test_short_repetitions_and_lists_are_left_alone(text: str) -> None:
    assert not repeats_itself(text).value


def prose() -> list[str]:
    """Return the paragraphs of this project's pages, whole pages without tables, and the model answers."""
    found = list(ANSWERS.values())
    for path in sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("docs/results/*.md")):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        found += [part for part in text.split("\n\n") if not part.lstrip().startswith(("|", "#"))]
    return found


def test_under_one_percent_of_prose_is_taken_for_repetitive() -> None:
    texts = prose()
    assert len(texts) > 250
    assert sum(bool(repeats_itself(text).value) for text in texts) < 0.01 * len(texts)
