"""Advice by role, each sentence with the rows of the table that it is based on."""

from collections.abc import Sequence
from itertools import groupby

from engine_probe.analysis.advice.curve_case import Advice
from engine_probe.report.document import Section, Sentence, says


def with_rows(found: Advice) -> str:
    return f"{found.text} [rows: {'; '.join(found.rows)}]"


def advice_section(found: Sequence[Advice]) -> Section:
    """Return the first advice for each role, and the rest folded."""
    roles = {role: list(sentences) for role, sentences in groupby(found, key=lambda advice: advice.role)}
    first = (Sentence(with_rows(sentences[0]), label=role) for role, sentences in roles.items())
    more = (
        Section(f"More for the {role}", sentences=says(map(with_rows, sentences[1:])))
        for role, sentences in roles.items()
        if sentences[1:]
    )
    return Section("Advice from these levels alone", sentences=tuple(first), details=tuple(more))
