"""Going on in a folder never loses a row that is measured: other points are refused before an engine starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.perplexity_points import texts
from engine_probe.sweep.definition.search import Adaptive
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, SweepFile, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.execution.events import Event, MeasuredBefore
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.execution.search_run import SearchRun
from engine_probe.sweep.results.driver_log import Driven, write_driver_log
from tests.support.sweeps.no_engine import NoEngine
from tests.support.sweeps.sweep_events import sweep_events

LOAD = "workload.concurrency"
GRID = SweepFile("?", EngineSection("tiny"), WorkloadSection(8, 8), axes={LOAD: [1, 2, 4, 8]}, probe=False)
SEARCH = Adaptive(LOAD, 1, 8, resolution=0.5)


def change(sweep: SweepFile, **how: Any) -> SweepFile:
    return msgspec.structs.replace(sweep, **how)


def measure(folder: Path, todo: list[Point]) -> None:
    """What an engine would have left: points without a recording, which the driver's clock alone tells."""
    for number, point in enumerate(todo):
        begin = number * 2_000_000_000
        told = Driven("answered", begin, begin + 1_000_000_000, (7, 7), 8, 1, 0, 0, None, 8)
        write_driver_log(PointFolders(folder).of(point), told)


def go_on(sweep: SweepFile, folder: Path) -> list[Any]:
    todo = [] if sweep.adaptive else [*points(sweep), *texts(sweep)]
    return sweep_events(sweep, folder, todo, NoEngine())


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "sweep.json").read_text())["points"]
    return found


@pytest.fixture
def done(tmp_path: Path) -> Path:
    measure(tmp_path, points(GRID))
    go_on(GRID, tmp_path)
    assert len(rows(tmp_path)) == 4
    return tmp_path


def test_what_moved_to_another_machine_before_is_still_told(done: Path) -> None:
    moved = {"number": 2, "point": "concurrency 4", "host": "left", "reason": "no answer any longer"}
    written = json.loads((done / "sweep.json").read_text())
    (done / "sweep.json").write_text(json.dumps({**written, "moved": [moved]}))
    go_on(GRID, done)
    assert json.loads((done / "sweep.json").read_text())["moved"] == [moved]
    (done / "sweep.json").write_text(json.dumps({**written, "moved": [5]}))  # of another version
    go_on(GRID, done)
    assert json.loads((done / "sweep.json").read_text())["moved"] == []


@pytest.mark.parametrize("damaged", [5, [], {"id": 5}])
def test_a_row_whose_id_is_no_text_is_one_sentence(done: Path, damaged: object) -> None:
    written = json.loads((done / "sweep.json").read_text())
    written["points"][0]["id"] = damaged
    (done / "sweep.json").write_text(json.dumps(written))
    with pytest.raises(InputError, match="an id is no text"):
        go_on(GRID, done)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (
            change(GRID, axes={LOAD: [1]}),
            "3 finished points that this sweep does not ask (concurrency 2; concurrency 4; conc",
        ),
        (change(GRID, axes={LOAD: [1, 2, 4]}), "1 finished point that this sweep does not ask (concurrency 8)"),
        (change(GRID, workload=WorkloadSection(8, 9)), "(concurrency 1; concurrency 2; concurrency 4 and 1 more)"),
        (change(GRID, axes={}, adaptive=SEARCH, engine=EngineSection("tiny", {"max_num_seqs": 2})), "4 finished"),
        (change(GRID, axes={}, adaptive=SEARCH, workload=WorkloadSection(8, 9)), "4 finished points"),
        (change(GRID, axes={}, adaptive=Adaptive("workload.num_prompts", 1, 8)), "4 finished points"),
    ],
)
def test_a_sweep_that_does_not_ask_what_is_measured_is_refused(done: Path, other: SweepFile, named: str) -> None:
    before = (done / "sweep.json").read_bytes()
    with pytest.raises(InputError) as refused:
        go_on(other, done)
    assert str(refused.value).startswith(f"{done} holds ")
    assert named in str(refused.value)
    assert "--out" in str(refused.value)
    assert (done / "sweep.json").read_bytes() == before


def test_what_failed_may_be_left_out(done: Path) -> None:
    document = json.loads((done / "sweep.json").read_text())
    document["points"][3]["status"] = "failed"
    (done / "sweep.json").write_text(json.dumps(document))
    go_on(change(GRID, axes={LOAD: [1, 2, 4]}), done)
    assert len(rows(done)) == 3


def test_one_more_level_keeps_the_others(done: Path) -> None:
    wider = change(GRID, axes={LOAD: [1, 2, 3, 4, 8]})
    measure(done, [point for point in points(wider) if point.workload.max_in_flight == 3])
    told = go_on(wider, done)
    assert sum(isinstance(event, MeasuredBefore) for event in told) == 5
    assert [row["point"]["workload"]["concurrency"] for row in rows(done)] == [1, 2, 3, 4, 8]


def test_stopped_while_it_reads_what_was_measured_it_has_lost_nothing(done: Path) -> None:
    before = (done / "sweep.json").read_bytes()

    def interrupt(event: Event, group: int | None) -> None:
        assert event == MeasuredBefore(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SweepRun(GRID, done, points(GRID), interrupt, NoEngine(), force=False).run()
    assert (done / "sweep.json").read_bytes() == before


def test_a_result_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"points": [7')
    with pytest.raises(InputError, match=r"sweep\.json is not what a sweep writes"):
        go_on(GRID, tmp_path)
    assert (tmp_path / "sweep.json").read_text() == '{"points": [7'


def test_a_search_keeps_loads_that_it_does_not_ask_for(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a finer resolution takes another way: a load of before is a row, though nobody asks for it now."""

    monkeypatch.setattr(SearchRun, "next_point", lambda self: None)
    search = change(GRID, axes={}, adaptive=SEARCH)
    go_on(search, done)
    assert [row["point"]["workload"]["concurrency"] for row in rows(done)] == [1, 2, 4, 8]
    go_on(change(search, adaptive=Adaptive(LOAD, 1, 8, resolution=0.25)), done)
    assert len({row["id"] for row in rows(done)}) == 4
