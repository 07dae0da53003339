"""A search as a sweep runs it: each point waits for what came of the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.search import Adaptive
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, WorkloadSection
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.search_run import SearchRun
from tests.support.point_results import result

BASE = Point(EngineSection("tiny"), WorkloadSection(32, 64), curve={"max_num_seqs": 8})
SEARCH = Adaptive("workload.concurrency", 1, 64, resolution=0.2)


def rate(concurrency: int) -> float:
    """Saturates at 12."""
    return min(concurrency, 12) * 10 - max(0, concurrency - 12)


def test_it_ends_at_the_knee_and_names_its_points(tmp_path: Path) -> None:
    todo: list[Point] = []
    search = SearchRun(SEARCH, BASE, PointFolders(tmp_path), todo, repeats=1)
    while planned := search.next_point():
        level = planned.point.workload.max_in_flight
        assert planned.folder == tmp_path / "points" / f"max_num_seqs=8,concurrency={level}"
        search.record(result(level, rate(level), point=planned.point))
    assert search.found.best == 12
    assert search.name == "max_num_seqs 8"
    assert [point.label for point in todo][:3] == [f"max_num_seqs 8, concurrency {level}" for level in (1, 2, 4)]
    assert len(todo) <= 12


def test_a_point_that_fails_ends_the_search_with_its_reason(tmp_path: Path) -> None:
    todo: list[Point] = []
    search = SearchRun(SEARCH, BASE, PointFolders(tmp_path), todo, repeats=1)
    while planned := search.next_point():
        level = planned.point.workload.max_in_flight
        search.record(planned.failed("out of memory") if level == 4 else result(level, 10.0 * level))
    assert len(todo) == 3
    assert search.found.best is None
    assert search.problem == "max_num_seqs 8, concurrency 4: out of memory"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"axis": "engine.model"}, "a search varies the load"),
        ({"axis": "workload.concurency"}, "workload.concurency cannot vary"),
        ({"from": 9, "to": 3}, "to = 3 is below from = 9"),
        ({"goal": "slo"}, "adaptive.slo is missing"),
        ({"slop": 1}, "adaptive.slop is not known: did you mean slo?"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    adaptive = {"axis": "workload.concurrency", "from": 1, "to": 8} | changes
    text = 'question = "?"\n[engine]\nmodel = "tiny"\n[workload]\ninput_len = 4\noutput_len = 4\n[adaptive]\n'
    lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in adaptive.items()]
    (tmp_path / "mine.toml").write_text(text + "\n".join(lines))
    with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
        read_sweep(str(tmp_path / "mine.toml"))
