"""The widths of a table's columns in a narrow terminal."""

from __future__ import annotations

from engine_probe.report.document import Column, Table
from engine_probe.report.renderers.terminal import GAP, column_widths


def test_a_name_gives_way_before_figures_and_titles_lose_their_ends() -> None:
    columns = Column("settings", words=True, is_name=True), Column("tokens/s"), Column("TPOT p50")
    table = Table(columns, (("tensor_parallel_size 1", "1,231", "26.0 ms"),), one_line=True)
    widths = column_widths(table, table.rows, 36)
    assert (widths[1], widths[2]) == (8, 8)
    assert sum(cells + GAP for cells in widths.values()) == 36
