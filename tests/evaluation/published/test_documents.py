"""The published documents as data: every row can be read, and every figure of a table has its place in a document."""

from __future__ import annotations

import msgspec
import pytest

from engine_probe.evaluation.published.documents import DOCUMENTS, Stated, read_document, references_of
from engine_probe.evaluation.published.reference import read_reference, shipped

LISTED_IN_A_DOCUMENT = {"l40s_h200"}  # whose figures are rows there


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_figure_of_a_table_lies_in_a_section_of_its_document(name: str) -> None:
    titles = {section.title for section in read_document(name).sections}
    for reference in references_of(name):
        used = {each.section or reference.section for each in (*reference.figures, *reference.claims)}
        assert used | ({reference.section} if reference.precisions else set()) <= titles, reference.title


def test_every_shipped_table_belongs_to_a_document() -> None:
    assert {name for name in shipped() if read_reference(name).document not in DOCUMENTS} == LISTED_IN_A_DOCUMENT


@pytest.mark.parametrize("name", DOCUMENTS)
def test_keys_are_unique_and_a_row_has_at_most_one_figure_beside_it(name: str) -> None:
    rows = [row for section in read_document(name).sections for row in section.stated]
    keys = [row.key for row in rows if row.key]
    assert len(keys) == len(set(keys))
    assert [row.what for row in rows if sum(map(bool, (row.geometry, row.sweep, row.recorded))) > 1] == []


def test_three_capacities_are_withheld() -> None:
    rows = [row.what for section in read_document("thesis").sections for row in section.stated if row.is_withheld]
    assert len(rows) == 3


@pytest.mark.parametrize("fields", [{}, {"value": 1, "low": 1}])
def test_a_row_is_a_value_or_a_band(fields: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError, match="either value, or low and high"):
        msgspec.convert({"what": "x", "kind": "setting", **fields}, Stated)
