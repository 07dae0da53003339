"""`load()`: a wrong folder or file is one sentence; a damaged table is refused, or read up to the damage."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from engine_probe import InputError, Run, load
from engine_probe.record.reader import FILE_START, read_facts, read_table
from engine_probe.record.schema import ADDED_SCHEMAS, SCHEMAS
from tests.support.recordings.recorder_rows import cut, written
from tests.support.samples import some_and_all

FUZZED = ("iterations", "requests")
NEAR = 8  # bytes
# All lengths of a file take a minute; those of a buffer that is torn in its middle are read alike.
some_and_all_lengths = some_and_all("apart", 29, 1)
fuzzed = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("closed") / "run", iterations=9, requests=4)


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two batches of each."""
    return cut(tmp_path_factory.mktemp("cut") / "run", [(3, 2), (6, 3)])


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    facts = json.loads((folder / "run.json").read_text())
    change(facts)
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@cache
def whole_table(folder: Path, name: str) -> pa.Table:
    """Read a table that is not damaged, once for all examples."""
    found: pa.Table = getattr(load(folder), name)
    return found


def put(path: Path, data: bytes | bytearray) -> None:
    """A new file: some file systems wait for the disk where an old one is written over."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


# ---- folders --------------------------------------------------------------------------------------------


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is not a folder: give the folder"):
        load(tmp_path / "nowhere")


def test_a_file_is_no_folder(closed: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json is not a folder"):
        load(closed / "run.json")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no run\.json: give the folder"):
        load(tmp_path)


def test_the_only_run_below_is_found(closed: Path) -> None:
    assert load(closed.parent).folder == closed


def test_several_runs_have_to_be_told_apart(tmp_path: Path, closed: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(closed, tmp_path / name)
    with pytest.raises(InputError, match=r"holds 2 runs \(first, second .*name one of them"):
        load(tmp_path)


def test_a_sweep_is_told_from_a_run(tmp_path: Path, closed: Path) -> None:
    shutil.copytree(closed, tmp_path / "points" / "a1")
    with pytest.raises(InputError, match=r"is not a run but holds runs, such as points/a1: name one of them"):
        load(tmp_path)


# ---- run.json -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", '"run"', "7", "\x00\x01", '{"schema_version": 1' + "1" * 5000 + "}", "[" * 100_000, "{}"],
)
def test_something_else_as_run_json(tmp_path: Path, closed: Path, text: str) -> None:
    folder = Path(shutil.copytree(closed, tmp_path / "run"))
    (folder / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json"):
        load(folder)


def test_bytes_that_are_no_text_as_run_json(tmp_path: Path, closed: Path) -> None:
    folder = Path(shutil.copytree(closed, tmp_path / "run"))
    (folder / "run.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match=r"run\.json cannot be read as text \(not UTF-8 at byte 0\)"):
        load(folder)


@pytest.mark.parametrize("version", [0, 1, 2, "3", None, True, [3]])
def test_an_unknown_schema_version_is_refused_by_its_number(tmp_path: Path, closed: Path, version: object) -> None:
    folder = Path(shutil.copytree(closed, tmp_path / "run"))
    rewritten(folder, lambda facts: facts.update(schema_version=version))
    with pytest.raises(InputError, match=r"run\.json: schema version .* reads versions 3 to 5"):
        load(folder)


def keys_of(facts: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of run.json that readers rely on."""
    for name, value in facts.items():
        yield (*path, name)
        if isinstance(value, dict) and name != "close":
            yield from keys_of({key: part for key, part in value.items() if key not in ADDED_SCHEMAS}, (*path, name))


def replaced(facts: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    facts = copy.deepcopy(facts)
    holder = facts
    for name in path[:-1]:
        holder = holder[name]
    if value is MISSING:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return facts


MISSING = object()


@pytest.mark.parametrize(
    "wrong", [MISSING, {"a": 1}, ["x"], "x", -0.5], ids=["missing", "object", "list", "text", "-0.5"]
)
@pytest.mark.parametrize("which", ["closed", "torn"])
def test_each_key_missing_or_of_another_type(
    tmp_path: Path, request: pytest.FixtureRequest, which: str, wrong: object
) -> None:
    whole = request.getfixturevalue(which)
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    facts = json.loads((whole / "run.json").read_text())
    for path in keys_of(facts):
        there = facts
        for name in path:
            there = there[name]
        if wrong is not MISSING and (isinstance(there, type(wrong)) or there is None):
            continue  # of that type already
        put(folder / "run.json", json.dumps(replaced(facts, path, wrong)).encode())
        with pytest.raises(InputError, match=r"run\.json: .*" + path[0].replace("_", ".")):
            load(folder)


@pytest.mark.lengthy
@some_and_all("apart", 15, 1)
@pytest.mark.parametrize("status", ["complete", "incomplete", "recording"])
@given(
    junk=some.recursive(some.none() | some.booleans() | some.integers() | some.text(), some.lists, max_leaves=5),
    first=some.integers(0, 14),
)
@fuzzed
def test_any_value_anywhere_in_run_json_is_read_or_refused(
    tmp_path: Path, closed: Path, status: str, apart: int, junk: object, first: int
) -> None:
    """Each of a hundred values stands in the place of every 15th key here, and of every key where time allows."""
    folder = tmp_path / "run"
    if not folder.exists():
        shutil.copytree(closed, folder)
    facts = json.loads((closed / "run.json").read_text()) | {"status": status}
    if status == "incomplete":
        facts["failure"] = "planted"
    for path in [*keys_of(facts)][first % apart :: apart]:
        put(folder / "run.json", json.dumps(replaced(facts, path, junk)).encode())
        read_or_refused(folder)


def read_or_refused(folder: Path) -> Run | None:
    """Load a folder; the result must be an InputError or a run whose tables and text can be read."""
    try:
        run = load(folder)
        _ = run.iterations, run.requests, run.preemptions, run.telemetry, run.workers
    except InputError:
        return None
    assert repr(run)
    return run


# ---- damaged tables -------------------------------------------------------------------------------------


def is_refused_or_prefix(folder: Path, table: str, whole: pa.Table) -> int | None:
    """Rows of the prefix that was read, None where it was refused; anything else fails the test."""
    try:
        found = read_table(folder, table, read_facts(folder))
    except InputError as refused:
        sentence = str(refused)
    else:
        sentence = ""
    if sentence:
        assert str(folder) in sentence
        assert "\n" not in sentence
        return None
    assert found.schema.equals(SCHEMAS[table], check_metadata=True)
    assert found.equals(whole.slice(0, found.num_rows))
    return int(found.num_rows)


@pytest.fixture(params=FUZZED)
def table(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_cut_run_says_so_and_keeps_every_batch(torn: Path) -> None:
    run = load(torn)
    assert run.status == "cut"
    assert f"recovered: process {os.getpid()} ended without closing this run" in run.notes[0]
    assert run.iterations["iteration"].to_pylist() == list(range(9))
    assert run.requests["request_id"].to_pylist() == ["r0", "r1", "r0", "r1", "r2"]
    assert run.preemptions.num_rows == run.telemetry.num_rows == run.workers.num_rows == 0


def lengths(data: bytes, start: int, apart: int) -> list[int]:
    """Every `apart`-th length of a stream or file, and each of those around the start or end of a message."""
    source, ends = pa.BufferReader(data), [0, start]
    source.seek(start)
    messages = pa.ipc.MessageReader.open_stream(source)
    with suppress(StopIteration):
        while message := messages.read_next_message():
            ends += [source.tell() - message.body.size if message.body else source.tell(), source.tell()]
    near = {end + beside for end in (*ends, len(data)) for beside in range(-NEAR, NEAR + 1)}
    return sorted((near | set(range(0, len(data), apart))) & set(range(len(data) + 1)))


@pytest.mark.lengthy
@some_and_all_lengths
def test_a_stream_cut_anywhere_is_a_prefix_of_whole_batches(tmp_path: Path, torn: Path, table: str, apart: int) -> None:
    folder = Path(shutil.copytree(torn, tmp_path / "run"))
    path = folder / f"{table}.arrows"
    data, whole = path.read_bytes(), whole_table(torn, table)
    sizes = []
    for end in lengths(data, 0, apart):
        put(path, data[:end])
        rows = is_refused_or_prefix(folder, table, whole)
        assert rows is not None, f"refused when cut at byte {end}"
        sizes.append(rows)
    assert sizes == sorted(sizes)
    assert set(sizes) == ({0, 3, 9} if table == "iterations" else {0, 2, 5})


@pytest.mark.lengthy
@some_and_all_lengths
def test_a_closed_file_cut_anywhere_is_refused(tmp_path: Path, closed: Path, table: str, apart: int) -> None:
    folder = Path(shutil.copytree(closed, tmp_path / "run"))
    path = folder / f"{table}.arrow"
    data, whole = path.read_bytes(), whole_table(closed, table)
    for end in lengths(data, FILE_START, apart)[:-1]:
        put(path, data[:end])
        assert is_refused_or_prefix(folder, table, whole) is None


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("apart", "flips"), [(29, [0x40]), pytest.param(1, [0x01, 0x80, 0xFF], marks=pytest.mark.slow)], ids=["some", "all"]
)
@pytest.mark.parametrize("kind", ["closed", "torn"])
def test_flipped_bytes_are_noticed(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, table: str, apart: int, flips: list[int]
) -> None:
    origin = request.getfixturevalue(kind)
    folder = Path(shutil.copytree(origin, tmp_path / "run"))
    path = folder / f"{table}.{'arrow' if kind == 'closed' else 'arrows'}"
    data, whole = path.read_bytes(), whole_table(origin, table)
    for position in range(0, len(data), apart):
        for flip in flips:
            damaged = bytearray(data)
            damaged[position] ^= flip
            put(path, damaged)
            rows = is_refused_or_prefix(folder, table, whole)
            assert kind == "torn" or rows is None


@pytest.mark.lengthy
@pytest.mark.parametrize("kind", ["closed", "torn"])
@given(junk=some.binary(max_size=400), where=some.floats(0, 1), replace=some.booleans())
@fuzzed
def test_random_bytes_anywhere(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, table: str, junk: bytes, where: float, replace: bool
) -> None:
    origin = request.getfixturevalue(kind)
    folder = tmp_path / "run"
    if not folder.exists():
        shutil.copytree(origin, folder)
    name = f"{table}.{'arrow' if kind == 'closed' else 'arrows'}"
    data, whole = (origin / name).read_bytes(), whole_table(origin, table)
    at = int(where * len(data))
    put(folder / name, data[:at] + junk + data[at + len(junk) if replace else at :])
    is_refused_or_prefix(folder, table, whole)


@pytest.mark.lengthy
@pytest.mark.parametrize("kind", ["closed", "torn"])
@given(junk=some.binary(max_size=3_000))
@fuzzed
def test_nothing_but_random_bytes(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, table: str, junk: bytes
) -> None:
    origin = request.getfixturevalue(kind)
    folder = tmp_path / "run"
    if not folder.exists():
        shutil.copytree(origin, folder)
    put(folder / f"{table}.{'arrow' if kind == 'closed' else 'arrows'}", junk)
    assert not is_refused_or_prefix(folder, table, whole_table(origin, table))


@pytest.mark.parametrize("name", ["iterations", "requests", "preemptions", "telemetry"])
@pytest.mark.parametrize("kind", ["closed", "torn"])
def test_a_missing_table_is_named(tmp_path: Path, request: pytest.FixtureRequest, kind: str, name: str) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "run"))
    next(folder.glob(f"{name}.arrow*")).unlink()
    with pytest.raises(InputError, match=rf"{name}\.arrows? is missing"):
        getattr(load(folder), name)


@pytest.mark.parametrize("kind", ["closed", "torn"])
def test_a_recording_older_than_a_table_opens_without_it(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "run"))
    rewritten(folder, lambda facts: facts.get("tables", {}).pop("host_events", None))
    if kind == "closed":
        with pytest.raises(InputError, match=r"host_events\.arrows is missing"):
            _ = load(folder).host_events
    next(folder.glob("host_events.arrow*")).unlink()
    assert load(folder).host_events.schema.equals(ADDED_SCHEMAS["host_events"])
    assert load(folder).iterations.num_rows == 9


def test_host_events_that_run_json_names_are_not_left_out(tmp_path: Path, closed: Path) -> None:
    folder = Path(shutil.copytree(closed, tmp_path / "run"))
    (folder / "host_events.arrow").unlink()
    with pytest.raises(InputError, match=r"host_events\.arrow is missing"):
        _ = load(folder).host_events


@pytest.mark.parametrize("kind", ["closed", "torn"])
def test_one_table_in_the_place_of_another(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "run"))
    suffix = "arrow" if kind == "closed" else "arrows"
    shutil.copy(folder / f"requests.{suffix}", folder / f"iterations.{suffix}")
    with pytest.raises(InputError, match=r"iterations\.arrow"):
        _ = load(folder).iterations


def test_a_stream_of_another_schema_version(tmp_path: Path, torn: Path) -> None:
    folder = Path(shutil.copytree(torn, tmp_path / "run"))
    newer = SCHEMAS["iterations"].with_metadata(
        {b"engine_probe.schema_version": b"9", b"engine_probe.table": b"iterations"}
    )
    with (folder / "iterations.arrows").open("wb") as sink, pa.ipc.new_stream(sink, newer) as stream:
        stream.write_table(newer.empty_table())
    with pytest.raises(InputError, match=r"iterations\.arrows has schema version '9', this engine_probe reads 3 to 5"):
        _ = load(folder).iterations


def test_a_file_that_run_json_does_not_know_is_not_believed(tmp_path: Path, torn: Path, closed: Path) -> None:
    """Killed while it was being closed: the file is there, its checksum is not, so the stream counts."""
    folder = Path(shutil.copytree(torn, tmp_path / "run"))
    (folder / "iterations.arrow").write_bytes((closed / "iterations.arrow").read_bytes()[:-1] + b"x")
    assert load(folder).iterations.num_rows == 9


def test_workers_rows_that_went_missing_are_noticed(tmp_path: Path, closed: Path) -> None:
    folder = Path(shutil.copytree(closed, tmp_path / "run"))
    with (folder / "workers-0.arrows").open("wb") as sink, pa.ipc.new_stream(sink, SCHEMAS["workers"]):
        pass
    rank = {"rank": 0, "pid": 1, "rows": 3, "failure": None}
    rewritten(folder, lambda facts: facts.update(workers={"recorded": True, "reason": None, "ranks": [rank]}))
    with pytest.raises(InputError, match=r"says 3 rows of workers"):
        _ = load(folder).workers
