"""From the user's `with Probe(llm)` to the row on disk: what a newcomer must read stays short."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "engine_probe"
PATH = ("probe.py", "hook/scheduler.py", "record/recorder.py", "record/writer.py", "record/columns.py")


def test_the_path_is_at_most_six_files_and_500_lines() -> None:
    assert len(PATH) <= 6
    assert sum(len((ROOT / name).read_text().splitlines()) for name in PATH) <= 500


def test_each_file_leads_to_the_next() -> None:
    imported = [
        {node.module for node in ast.walk(ast.parse((ROOT / name).read_text())) if isinstance(node, ast.ImportFrom)}
        for name in PATH
    ]
    modules = ["engine_probe." + name.removesuffix(".py").replace("/", ".") for name in PATH]
    assert modules[1] in imported[0]
    assert modules[2] in imported[1]
    assert modules[3] in imported[0]
    assert modules[4] in imported[3]
