"""Exported tables hold every row and column."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from engine_probe.commands.export import command
from engine_probe.errors import InputError
from engine_probe.export.arrow import export
from engine_probe.record.schema import SCHEMAS, TABLES
from tests.support.recordings.run_folders import ran, write_run

LARGE = 2**62 + 1  # a float would round it


@pytest.fixture
def requests() -> pa.Table:
    row = {field.name: None if field.nullable else 0 for field in SCHEMAS["requests"]}
    row |= {"request_id": 'a,"b', "finish_reason": "length", "finished_ns": LARGE, "first_token_ns": LARGE}
    row |= {"run_starts": [3, LARGE], "run_lengths": [1, 2], "burst_iterations": [], "burst_tokens": []}
    return pa.Table.from_pylist([row], SCHEMAS["requests"])


def test_parquet_gives_back_the_same_table(requests: pa.Table, tmp_path: Path) -> None:
    (path,) = export({"requests": requests}, tmp_path / "out", "parquet")
    back = pyarrow.parquet.read_table(path)
    assert back.equals(requests)
    assert back.schema.field("finished_ns").metadata[b"unit"] == b"ns"


def test_csv_keeps_every_figure_and_lists_as_json(requests: pa.Table, tmp_path: Path) -> None:
    (path,) = export({"requests": requests}, tmp_path / "out", "csv")
    (row,) = pyarrow.csv.read_csv(path).to_pylist()
    assert row["request_id"] == 'a,"b'
    assert row["finished_ns"] == LARGE
    assert row["arrival_ns"] is None
    assert json.loads(row["run_starts"]) == [3, LARGE]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_command_writes_each_table_of_a_run(tmp_path: Path, kind: str) -> None:
    run, out = write_run(tmp_path / "run", ran(4)), tmp_path / "out"
    assert CliRunner().invoke(command, [str(run), "--to", kind, "--out", str(out)]).exit_code == 0
    assert {path.name for path in out.iterdir()} == {f"{name}.{kind}" for name in TABLES}


def test_a_folder_that_holds_something_is_refused(requests: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match=r"mine\.txt and is never overwritten"):
        export({"requests": requests}, tmp_path, "csv")


def test_pandas_duckdb_and_polars_read_it_in_place(requests: pa.Table, tmp_path: Path) -> None:
    """The example in docs/reading.md works."""
    path = tmp_path / "requests.arrow"
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, requests.schema, options=options) as file:
        file.write_table(requests)
    assert requests.to_pandas()["finished_ns"].item() == LARGE
    assert duckdb.sql("select finished_ns from requests").fetchall() == [(LARGE,)]
    assert polars.scan_ipc(path).select("finished_ns").collect().item() == LARGE
