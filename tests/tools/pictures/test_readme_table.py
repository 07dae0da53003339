"""The README's first table is written from a sweep, and nothing else in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recordings.run_folders import write_sweep
from tools.pictures import readme_table
from tools.pictures.readme_table import BLOCK, README, main

REAL = README.read_text(encoding="utf-8")


def test_the_table_is_replaced_and_the_rest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(REAL, encoding="utf-8")
    monkeypatch.setattr(readme_table, "README", readme)
    assert main([str(write_sweep(tmp_path / "sweep", (1, 2, 4)))]) == 0
    written = readme.read_text(encoding="utf-8")
    assert BLOCK.split(written) == BLOCK.split(REAL)
    (block,) = BLOCK.findall(written)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if line.startswith("|")
    ]
    assert [row[0] for row in rows] == ["concurrent requests", "--:", "1", "2", "4"]
    assert block.splitlines()[-1].startswith("Measured on 20")


def test_a_readme_without_the_table_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# engine_probe\n", encoding="utf-8")
    monkeypatch.setattr(readme_table, "README", readme)
    assert main([str(write_sweep(tmp_path / "sweep", (1, 2)))]) == 1
    assert readme.read_text(encoding="utf-8") == "# engine_probe\n"
