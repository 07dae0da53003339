"""From the user's `with Probe(llm)` to the row on disk: what a newcomer must read stays short."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2] / "engine_probe"
PATH = ("probe.py", "hook/scheduler.py", "record/recorder.py", "record/writer.py", "record/columns.py")


def imported_by(name: str) -> set[str]:
    """Return the files of the package that this file imports."""
    nodes = [node for node in ast.walk(ast.parse((ROOT / name).read_text())) if isinstance(node, ast.ImportFrom)]
    modules = {node.module for node in nodes if node.module and node.module.startswith("engine_probe.")}
    files = {module.removeprefix("engine_probe.").replace(".", "/") + ".py" for module in modules}
    return {file for file in files if (ROOT / file).is_file()}


def makers_of_columns() -> set[str]:
    """Return the path, and whatever in the hook the scheduler's hook rests on: the counters behind the columns."""
    found, waiting = set(PATH), {"hook/scheduler.py"}
    while waiting:
        new = {file for name in waiting for file in imported_by(name) if file.startswith("hook/")} - found
        found, waiting = found | new, new
    return found


def lines(files: Iterable[str]) -> int:
    return sum(len((ROOT / name).read_text().splitlines()) for name in files)


def test_the_path_is_at_most_six_files_and_500_lines() -> None:
    assert len(PATH) <= 6
    assert lines(PATH) <= 500


def test_with_every_file_that_makes_a_column_it_stays_below_a_dozen_and_1400_lines() -> None:
    makers = makers_of_columns()
    assert {"hook/request_counters.py", "hook/block_counters.py", "hook/request_state.py"} <= makers
    assert len(makers) < 12
    assert lines(makers) <= 1400


def test_each_file_leads_to_the_next() -> None:
    probe, hook, recorder, writer, columns = PATH
    assert {hook, writer} <= imported_by(probe)
    assert recorder in imported_by(hook)
    assert columns in imported_by(writer)
