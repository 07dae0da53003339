"""What the folder of a point is called, and that a finished point is found however its sweep was named or extended."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, SweepFile, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.execution.folders import LONGEST_NAME, PointFolders, folder_name
from engine_probe.sweep.results.point_results import finished
from engine_probe.workload.arrivals import OpenLoop
from tests.support.recordings.run_folders import facts, ran, write_run

LOAD = "workload.concurrency"
SWEEP = SweepFile("?", EngineSection("tiny"), WorkloadSection(8, 8), {LOAD: [1, 4]})
SAFE = set(string.ascii_letters + string.digits + "._+=,-")


def change(**how: Any) -> SweepFile:
    return msgspec.structs.replace(SWEEP, **how)


def names(sweep: SweepFile) -> list[str]:
    return [folder_name(point) for point in points(sweep)]


def write_rows(folder: Path, sweep: SweepFile, named: bool = True) -> None:
    """A sweep with a recording for each point; without `named` as earlier versions named their folders."""
    folders, rows = PointFolders(folder), []
    for point in points(sweep):
        place = folders.of(point) if named else folder / "points" / point.key
        write_run(place, ran(int(point.load)), {**facts(), "point": {"id": point.key}})
        row = {"id": point.key, "point": point, "status": "complete"}
        rows.append(row | ({"folder": place.name} if named else {}))
    (folder / "sweep.json").write_bytes(msgspec.json.encode({"sweep": sweep, "points": rows}))


def test_a_name_has_what_differs_between_points_then_the_load_and_the_repeat() -> None:
    assert names(SWEEP) == ["concurrency=1", "concurrency=4"]
    axes = {"engine.arguments.tensor_parallel_size": [1, 2], LOAD: [4]}
    assert names(change(axes=axes, repeats=2)) == [
        "tensor_parallel_size=1,concurrency=4",
        "tensor_parallel_size=1,concurrency=4,repeat=2",
        "tensor_parallel_size=2,concurrency=4",
        "tensor_parallel_size=2,concurrency=4,repeat=2",
    ]


def test_a_folder_that_a_damaged_file_names_elsewhere_is_looked_for_below_the_sweep(tmp_path: Path) -> None:
    """Going on would set aside what lies there, and record into its place."""
    write_rows(tmp_path / "sweep", SWEEP)
    written = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    written["points"][0]["folder"] = "../../mine"
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(written))
    first, second = map(PointFolders(tmp_path / "sweep").of, points(SWEEP))
    assert first == tmp_path / "sweep" / "points" / "mine"
    assert second.is_dir()


def test_a_rate_is_named_as_a_rate() -> None:
    work = WorkloadSection(8, 8, num_prompts=4, arrivals=OpenLoop(2.5))
    assert names(change(workload=work, axes={})) == ["request_rate=2.5"]


@pytest.mark.parametrize("model", ["org/name", "/some/where/name", "../../name", "name/"])
def test_of_a_path_only_the_end_is_in_the_name(model: str) -> None:
    axes = {"engine.model": [model, "tiny"], LOAD: [1]}
    assert names(change(axes=axes))[0] == "model=name,concurrency=1"


@pytest.mark.parametrize("value", ["a b", "ä/ö", "..", "", "a\nb", "\x00", "*", "x" * 400, {"b": [1, {"c": None}]}])
def test_whatever_a_setting_holds_its_name_is_safe_and_short(value: Any) -> None:
    point = Point(EngineSection("tiny"), WorkloadSection(8, 8, 2), curve={"one": value, "two": value})
    name = folder_name(point)
    assert set(name) <= SAFE
    assert name.startswith("one=")
    assert len(name) <= LONGEST_NAME


def test_too_many_settings_end_in_a_part_of_the_key() -> None:
    point = Point(EngineSection("tiny"), WorkloadSection(8, 8, 2), curve={f"a_long_setting_{n}": n for n in range(20)})
    assert folder_name(point).endswith(f",{point.key[:6]}")
    assert len(folder_name(point)) <= LONGEST_NAME + 7


def test_two_points_of_one_name_have_two_folders(tmp_path: Path) -> None:
    first = Point(EngineSection("a/name"), WorkloadSection(8, 8, 2), curve={"model": "a/name"})
    second = Point(EngineSection("b/name"), WorkloadSection(8, 8, 2), curve={"model": "b/name"})
    folders = PointFolders(tmp_path)
    assert folders.of(first).name == "model=name,concurrency=2"
    assert folders.of(second).name == f"model=name,concurrency=2,{second.key[:6]}"
    assert folders.of(first).name == "model=name,concurrency=2"


def test_a_point_without_a_recording_of_its_own_has_a_part_of_its_key() -> None:
    """Nothing in its folder says of which point it is."""
    point = Point(EngineSection("tiny"), WorkloadSection(8, 8, 2), probe=False)
    assert folder_name(point) == f"concurrency=2,{point.key[:6]}"
    text = Point(EngineSection("tiny"), WorkloadSection(8, 8, 2), label="perplexity, dtype half", quality=Quality("t"))
    assert folder_name(text) == f"perplexity,dtype=half,{text.key[:6]}"


def test_a_point_keeps_its_folder_when_an_axis_is_added(tmp_path: Path) -> None:
    write_rows(tmp_path, SWEEP)
    wider = points(change(axes={"workload.output_len": [8, 16], LOAD: [1, 4]}))
    folders = PointFolders(tmp_path)
    assert [folders.of(point).name for point in wider] == [
        "concurrency=1",
        "concurrency=4",
        "output_len=16,concurrency=1",
        "output_len=16,concurrency=4",
    ]
    assert [finished(folders.of(point), point) is not None for point in wider] == [True, True, False, False]


def test_a_sweep_whose_folders_have_the_names_of_keys_goes_on(tmp_path: Path) -> None:
    write_rows(tmp_path, SWEEP, named=False)
    folders = PointFolders(tmp_path)
    for point in points(SWEEP):
        assert folders.of(point).name == point.key
        assert finished(folders.of(point), point) is not None


def test_a_recording_that_an_earlier_version_began_is_found(tmp_path: Path) -> None:
    """It was killed before its row was written."""
    (point, _) = points(SWEEP)
    write_run(tmp_path / "points" / point.key, ran(1))
    assert finished(PointFolders(tmp_path).of(point), point) is not None


def test_a_recording_of_another_point_under_the_same_name_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """A sweep was killed before it wrote a row, and then changed."""
    (before, _), (after, _) = points(SWEEP), points(change(workload=WorkloadSection(8, 16)))
    write_run(PointFolders(tmp_path).of(before), ran(1), {**facts(), "point": {"id": before.key}})
    place = PointFolders(tmp_path).of(after)
    assert place == PointFolders(tmp_path).of(before)
    assert finished(place, before) is not None
    assert finished(place, after) is None


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"points": [7]}))
    with pytest.raises(InputError, match=r"sweep\.json is not what a sweep writes"):
        PointFolders(tmp_path)
