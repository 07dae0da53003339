"""A suite goes on whatever happens to one of its sweeps, and its state on disk always tells what is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine_probe.commands.sweep.suite.suite_argument import read
from engine_probe.errors import INTERRUPTED, InputError, UnavailableError
from engine_probe.recordings.suite import COMPLETE, FAILED, PARTIAL, RUNNING, WAITING, SweepState, read_state
from engine_probe.sweep.definition.sweep_file import SweepFile, points
from engine_probe.sweep.suite.suite_run import SuiteRun

SWEEP = """
question = "Is it fast?"
[engine]
model = "tiny"
[workload]
input_len = 8
output_len = 8
[axes]
"workload.concurrency" = [1, 2]
"""
SUITE = """
title = "A paper"
[[sections]]
title = "One"
sweeps = ["a.toml", "b.toml"]
[[sections]]
title = "Two"
sweeps = ["c.toml"]
"""

End = int | BaseException
NO_GPU = UnavailableError("no GPU here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.toml").write_text(SWEEP)
    (tmp_path / "suite.toml").write_text(SUITE)
    out = tmp_path / "out"
    out.mkdir()
    return out


class Measured:
    """Takes the place of a sweep: ends each with what it is told, and writes what a sweep would have written."""

    def __init__(self, **ends: End) -> None:
        self.ends = ends
        self.asked: list[tuple[str, bool]] = []
        self.states: list[dict[str, str]] = []

    def __call__(self, sweep: SweepFile, row: SweepState, place: Path, resume: bool) -> int:
        self.asked.append((row.name, resume))
        self.states.append({each.name: each.status for each in read_state(place.parents[1]).sweeps})
        end = self.ends.get(row.name, 0)
        if isinstance(end, BaseException) and not isinstance(end, KeyboardInterrupt):
            raise end
        lost = {0: 0, 1: 1}.get(end if isinstance(end, int) else 1, 2)
        write(place, sweep, lost)
        if isinstance(end, KeyboardInterrupt):
            raise end
        assert isinstance(end, int)
        return end


def write(place: Path, sweep: SweepFile, lost: int) -> None:
    place.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [{"id": point.key, "point": {"label": point.label}} for point in points(sweep)]
    for number, row in enumerate(rows):
        row |= {"status": "failed", "reason": "out of memory"} if number < lost else {"status": "complete"}
    asked = {"question": "?", "engine": {"model": "tiny"}, "workload": {"input_len": 8, "output_len": 8}}
    axes = {"workload.concurrency": [1, 2]}
    (place / "sweep.json").write_text(json.dumps({"sweep": asked | {"axes": axes}, "points": rows}))


def begin(folder: Path) -> SuiteRun:
    return SuiteRun(folder, *read(str(folder.parent / "suite.toml"), (), None, ()))


def statuses(folder: Path) -> list[str]:
    return [row.status for row in read_state(folder).sweeps]


def run(suite: SuiteRun, measure: Measured, said: list[str] | None = None) -> int:
    return suite.run(measure, (said if said is not None else []).append)


def test_all_sweeps_are_measured_in_order_and_the_state_is_on_disk_before_each(folder: Path) -> None:
    measure = Measured()
    assert run(begin(folder), measure) == 0
    assert measure.asked == [("a", False), ("b", False), ("c", False)]
    assert measure.states[1] == {"a": COMPLETE, "b": RUNNING, "c": WAITING}
    assert statuses(folder) == [COMPLETE] * 3


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (NO_GPU, FAILED, "no GPU here"),
        (InputError("the weights take too much"), FAILED, "the weights take too much"),
        (1, PARTIAL, "1 of its points are not measured: out of memory"),
        (3, FAILED, "2 of its points are not measured: out of memory"),
    ],
)
def test_a_sweep_that_fails_is_a_row_with_its_reason(folder: Path, end: End, status: str, reason: str) -> None:
    said: list[str] = []
    measure = Measured(b=end)
    assert run(begin(folder), measure, said) == 1
    assert [name for name, _ in measure.asked] == ["a", "b", "c"]
    assert statuses(folder) == [COMPLETE, status, COMPLETE]
    assert read_state(folder).sweeps[1].reason == reason
    assert said == [f"b, {status}: {reason}"]


def test_a_suite_of_which_nothing_is_measured_ends_with_the_code_of_that(folder: Path) -> None:
    assert run(begin(folder), Measured(a=NO_GPU, b=NO_GPU, c=NO_GPU)) == UnavailableError.exit_code


def test_resume_keeps_what_is_complete_and_goes_on_with_the_rest(folder: Path) -> None:
    run(begin(folder), Measured(a=1, b=NO_GPU))
    before = (folder / "two/tiny").stat().st_mtime_ns
    measure = Measured()
    assert run(SuiteRun.resumed(folder), measure) == 0
    assert measure.asked == [("a", True), ("b", False)]
    assert statuses(folder) == [COMPLETE] * 3
    assert (folder / "two/tiny").stat().st_mtime_ns == before


@pytest.mark.parametrize("end", [INTERRUPTED, KeyboardInterrupt()])
def test_ctrl_c_ends_it_and_resume_goes_on_with_the_sweep_that_had_begun(folder: Path, end: End) -> None:
    measure = Measured(b=end)
    assert run(begin(folder), measure) == INTERRUPTED
    assert [name for name, _ in measure.asked] == ["a", "b"]
    assert statuses(folder) == [COMPLETE, RUNNING, WAITING]
    again = Measured()
    assert run(SuiteRun.resumed(folder), again) == 0
    assert again.asked == [("b", True), ("c", False)]


def test_a_sweep_that_was_killed_before_its_first_row_is_begun_anew_and_what_it_left_is_kept(folder: Path) -> None:
    run(begin(folder), Measured(b=NO_GPU))
    left = folder / "one/b/points/concurrency=1"
    left.mkdir(parents=True)
    (left / "iterations.arrows").write_text("cut")
    measure = Measured()
    run(SuiteRun.resumed(folder), measure)
    assert measure.asked == [("b", False)]
    assert (folder / "one/b.cut-1/points/concurrency=1/iterations.arrows").read_text() == "cut"


def test_a_sweep_that_had_begun_goes_on_as_it_was_begun(folder: Path) -> None:
    """Its file may have changed since."""
    run(begin(folder), Measured(a=1))
    (folder.parent / "a.toml").write_text(SWEEP.replace("[1, 2]", "[7]"))
    seen: list[object] = []

    def measure(sweep: SweepFile, row: SweepState, place: Path, resume: bool) -> int:
        seen.append(sweep.axes["workload.concurrency"])
        return 0

    SuiteRun.resumed(folder).run(measure, lambda _: None)
    assert seen == [[1, 2]]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(sections=[]),
        lambda state: state["sweeps"][0].update(folder="../../elsewhere"),
        lambda state: state["sweeps"][0].update(folder="/etc"),
        lambda state: state["sweeps"][0].update(status="done"),
        lambda state: state.pop("title"),
    ],
)
def test_a_damaged_state_is_refused(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    run(begin(folder), Measured())
    state = json.loads((folder / "suite.json").read_text())
    change(state)
    (folder / "suite.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match=r"suite\.json"):
        SuiteRun.resumed(folder)


def test_a_folder_without_a_suite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no suite\.json"):
        SuiteRun.resumed(tmp_path)
