"""Values that clients choose are altered to fit their column, and a bad row does not affect others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine_probe import Run, load
from engine_probe.record.schema import SCHEMAS
from tests.support.recordings.recorder_rows import CLOSE, WORKERS, begun, request, step

COLUMNS = SCHEMAS["requests"].names


def changed(name: str, **values: Any) -> tuple[Any, ...]:
    row = dict(zip(COLUMNS, request(name), strict=True)) | values
    return tuple(row.values())


def recorded(path: Path, *rows: tuple[Any, ...]) -> Run:
    """A closed run of three steps with these rows of requests."""
    folder, recorder, writer = begun(path)
    for _ in range(3):
        step(recorder)
    recorder.requests.extend(rows)
    tables = writer.close()
    folder.finish(None, tables=tables, workers=WORKERS, close={**CLOSE, **writer.misfits.as_facts()})
    writer.drop_streams()
    return load(path)


@pytest.mark.parametrize("priority", [2**61, 2**63 - 1, -(2**63), -1])
def test_every_priority_of_64_bits_is_kept(tmp_path: Path, priority: int) -> None:
    run = recorded(tmp_path / "run", request("a"), changed("b", priority=priority), request("c"))
    assert run.requests["priority"].to_pylist() == [0, priority, 0]
    assert run.notes == []


@pytest.mark.parametrize(("priority", "kept"), [(2**63, 2**63 - 1), (10**40, 2**63 - 1), (-(2**63) - 1, -(2**63))])
def test_a_priority_beyond_them_is_the_nearest_and_said(tmp_path: Path, priority: int, kept: int) -> None:
    run = recorded(tmp_path / "run", request("a"), changed("b", priority=priority), request("c"))
    assert run.requests["priority"].to_pylist() == [0, kept, 0]
    assert run.notes == ["values that do not fit into their columns: 1 of requests.priority kept only in part"]
    assert run.status == "complete"


def test_an_id_that_utf_8_cannot_hold_is_kept_with_an_escape(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", request("a"), request("b\ud800c"), request("d"))
    assert run.requests["request_id"].to_pylist() == ["a", r"b\ud800c", "d"]
    assert run.notes == ["values that do not fit into their columns: 1 of requests.request_id kept only in part"]


@pytest.mark.parametrize("wrong", [{"priority": "high"}, {"priority": None}, {"request_id": 7}, {"run_starts": "x"}])
def test_a_row_that_cannot_be_told_is_one_row(tmp_path: Path, wrong: dict[str, Any]) -> None:
    run = recorded(tmp_path / "run", request("a"), changed("b", **wrong), request("c"))
    assert run.requests["request_id"].to_pylist() == ["a", "c"]
    assert run.notes == ["values that do not fit into their columns: 1 rows of requests left out"]
    assert run.iterations.num_rows == 3


def test_where_no_row_can_be_told_the_table_is_empty(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", changed("a", priority="high"))
    assert run.requests.num_rows == 0
    assert run.facts["close"]["rows_left_out"] == {"requests": 1}


def test_a_value_beyond_a_column_that_may_be_null_is_null(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", changed("a", arrival_ns=-(2**70)))
    assert run.requests["arrival_ns"].to_pylist() == [None]


def test_a_count_beyond_its_column_is_no_other_count(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", request("a"), changed("b", peak_kv_blocks=2**31))
    assert run.requests["request_id"].to_pylist() == ["a"]
    assert run.notes == ["values that do not fit into their columns: 1 rows of requests left out"]
