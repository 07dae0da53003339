"""Cells of tables in the page."""

from __future__ import annotations

import pytest

from engine_probe.report.document import Cell
from engine_probe.report.renderers.html_document import cell_html


@pytest.mark.parametrize(
    ("cell", "markup"),
    [
        ("7", "7"),
        (Cell("57%"), "57%"),
        (Cell("57%", "plain", "39% to 73%"), '57% <span class="soft">39% to 73%</span>'),
        (Cell("a<b", "problem", "1 of 2"), '<span class="tone problem">a&lt;b</span> <span class="soft">1 of 2</span>'),
    ],
)
def test_what_stands_below_a_figure_is_set_apart_from_it(cell: Cell | str, markup: str) -> None:
    assert cell_html(cell) == markup
