"""Tables with valid checksums and hostile contents are refused in one sentence, without a crash or much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine_probe import InputError, load
from engine_probe.record.arrow_files import WRITE_OPTIONS, batch_checksum, file_crc32
from engine_probe.record.reader import read_facts, read_stream, read_table
from engine_probe.record.schema import SCHEMAS
from tests.support.recordings.recorder_rows import cut, written


def promised(folder: Path, table: str, rows: int | None = None) -> Path:
    """Let `run.json` promise the table as it is now."""
    path, facts = folder / f"{table}.arrow", json.loads((folder / "run.json").read_text())
    told = {"bytes": path.stat().st_size, "crc32": file_crc32(path)}
    facts["tables"][table] |= told if rows is None else told | {"rows": rows}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def in_another_process(folder: Path, table: str) -> subprocess.CompletedProcess[str]:
    """Read a table where a crash would not end the tests."""
    program = f"""
from pathlib import Path
from engine_probe.errors import InputError
from engine_probe.record.reader import read_facts, read_table
try:
    rows = read_table(Path({str(folder)!r}), {table!r}, read_facts(Path({str(folder)!r})))
    print(sum(map(len, rows.to_pylist())))
except InputError as error:
    print(error)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def batch(table: str, rows: int, **buffers: list[pa.Buffer]) -> pa.RecordBatch:
    """Rows of zeros; some columns with buffers of the test's own."""
    columns = []
    for field in SCHEMAS[table]:
        blank = [] if pa.types.is_list(field.type) else "" if pa.types.is_string(field.type) else 0
        column = pa.array([blank] * rows, field.type)
        if field.name in buffers:
            children = [column.values] if pa.types.is_list(field.type) else []
            column = pa.Array.from_buffers(field.type, rows, buffers[field.name], children=children)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMAS[table])


def write(folder: Path, table: str, rows: pa.RecordBatch, **options: Any) -> Path:
    with pa.ipc.new_file(folder / f"{table}.arrow", SCHEMAS[table], **options) as sink:
        sink.write_batch(rows)
    return promised(folder, table, rows.num_rows)


@pytest.mark.lengthy
@pytest.mark.parametrize("column", ["request_id", "run_starts"])
def test_offsets_that_lead_outside_their_values_are_refused(tmp_path: Path, column: str) -> None:
    folder = written(tmp_path / "run", iterations=9, requests=4)
    far = pa.py_buffer(b"".join(place.to_bytes(4, "little") for place in (0, 2**31 - 2, 2**31 - 2, 0, 0)))
    rows = batch("requests", 4, **{column: [None, far, pa.py_buffer(b"")] if column == "request_id" else [None, far]})
    done = in_another_process(write(folder, "requests", rows), "requests")
    assert done.returncode == 0
    assert "requests.arrow is damaged (" in done.stdout


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", iterations=9, requests=1)
    bad = [None, pa.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little")), pa.py_buffer(b"\xff\xfe")]
    write(folder, "requests", batch("requests", 1, request_id=bad))
    with pytest.raises(InputError, match=r"requests\.arrow is damaged \(.*UTF8"):
        _ = load(folder).requests


def test_a_null_where_none_may_be_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", iterations=1, requests=1)
    nothing = [pa.py_buffer(b"\0" * 8), pa.py_buffer(b"\0" * 8)]
    write(folder, "iterations", batch("iterations", 1, start_ns=nothing))
    with pytest.raises(InputError, match=r"iterations\.arrow is damaged \(.*start_ns.*null"):
        _ = load(folder).iterations


def test_a_null_in_a_list_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", iterations=3, requests=1)
    rows = batch("requests", 1)
    column = rows.schema.get_field_index("run_starts")
    write(
        folder, "requests", rows.set_column(column, rows.schema.field(column), pa.array([[None]], pa.list_(pa.int64())))
    )
    with pytest.raises(InputError, match=r"a list in run_starts holds a null"):
        _ = load(folder).requests


def test_more_rows_than_were_promised_are_refused(tmp_path: Path) -> None:
    folder = promised(written(tmp_path / "run", iterations=9, requests=4), "iterations", rows=8)
    with pytest.raises(InputError, match=r"holds 9 rows, and run\.json says 8"):
        _ = load(folder).iterations


@pytest.mark.lengthy
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "stream"])
def test_what_compression_would_expand_to_is_bounded_before_it_is_expanded(tmp_path: Path, closed: bool) -> None:
    million = batch("preemptions", 2_000_000)
    if closed:
        folder = write(written(tmp_path / "run", 9, 4), "preemptions", million, options=WRITE_OPTIONS)
    else:
        folder = cut(tmp_path / "run", [(3, 2)])
        with (
            (folder / "preemptions.arrows").open("wb") as sink,
            pa.ipc.new_stream(sink, million.schema, options=WRITE_OPTIONS) as stream,
        ):
            stream.write_batch(million, custom_metadata={b"crc32": batch_checksum(million)})
    before = pa.total_allocated_bytes()
    with pytest.raises(InputError, match=r"preemptions\.arrows? is damaged \([0-9,]+ bytes would expand to more than"):
        _ = load(folder).preemptions
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_footer_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    """Every byte after the messages is Arrow's footer."""
    folder = written(tmp_path / "run", iterations=9, requests=4)
    path, whole = folder / "iterations.arrow", load(folder).iterations
    data = path.read_bytes()
    footer = int.from_bytes(data[-10:-6], "little")
    for position in range(len(data) - 10 - footer, len(data), footer // 40):
        path.unlink()  # some file systems wait for the disk where an old file is written over
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        promised(folder, "iterations")
        assert read_table(folder, "iterations", read_facts(folder)).equals(whole)


def test_a_pipe_in_the_place_of_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", iterations=9, requests=4)
    for name, read in (
        ("iterations.arrow", lambda: load(folder).iterations),
        ("workers-0.arrows", lambda: read_stream(folder / "workers-0.arrows", "workers")),
        ("run.json", lambda: read_facts(folder)),
    ):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        with pytest.raises(InputError, match=rf"{name} is a pipe, not a file"):
            read()
        (folder / name).unlink()
        written(tmp_path / f"again {name}", iterations=9, requests=4)
        (tmp_path / f"again {name}" / "run.json").replace(folder / "run.json")


def test_a_file_of_another_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A hole of a terabyte takes no place on a disk, and an hour to read."""
    folder = written(tmp_path / "run", iterations=9, requests=4)
    os.truncate(folder / "iterations.arrow", 2**40)
    with pytest.raises(InputError, match=r"iterations\.arrow is damaged \(it has 1,099,511,627,776 bytes, more than"):
        _ = load(folder).iterations
    os.truncate(folder / "iterations.arrow", 2**30)
    with pytest.raises(InputError, match=r"size or checksum differ"):
        _ = load(folder).iterations
