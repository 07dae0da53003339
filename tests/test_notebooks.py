"""The notebooks: stripped in git, short cells, the public API alone, and they run on a recorded storm."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MOST_LINES = 20  # of one cell: a longer one belongs into the package
MAY_IMPORT = {"os", "pathlib", "matplotlib", "numpy", "pandas", "engine_probe"}


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestEveryNotebook:
    def test_outputs_stay_out_of_git(self, path: Path) -> None:
        for cell in code_cells(path):
            assert cell.outputs == []
            assert cell.execution_count is None

    def test_it_opens_with_its_question(self, path: Path) -> None:
        first = nbformat.read(path, as_version=4).cells[0]
        assert first.cell_type == "markdown"
        assert first.source.splitlines()[0].startswith("# ")
        assert first.source.splitlines()[0].endswith("?")

    def test_cells_are_short_and_define_nothing_long(self, path: Path) -> None:
        for cell in code_cells(path):
            assert len(cell.source.splitlines()) <= MOST_LINES

    def test_it_takes_only_the_public_api(self, path: Path) -> None:
        import engine_probe

        for node in (node for cell in code_cells(path) for node in ast.walk(ast.parse(cell.source))):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= MAY_IMPORT
                assert not [alias.name for alias in node.names if alias.name.startswith("engine_probe.")]
            if isinstance(node, ast.ImportFrom):
                assert node.module in MAY_IMPORT
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "engine_probe":
                assert node.attr in engine_probe.__all__


def test_there_are_both() -> None:
    assert {"anatomy_of_one_iteration", "where_the_knee_comes_from"} <= {path.stem for path in NOTEBOOKS}
