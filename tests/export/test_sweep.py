"""An exported sweep: a table of its points, the tables of each point, and a message for points without tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from engine_probe import load, load_sweep
from engine_probe.commands.export import command
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.perplexity.text_scores import Measured, Precision, write_measured
from tests.support.recordings.run_folders import write_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three loads, of which the second has no recording; the first was measured twice."""
    folder = write_sweep(tmp_path / "sweep", (1, 2, 4))
    (folder / "points" / "p2" / "run.json").unlink()
    document = json.loads((folder / "sweep.json").read_text())
    document["points"].append(document["points"][0] | {"id": "again"})
    (folder / "sweep.json").write_text(json.dumps(document))
    (folder / "points" / "again").symlink_to(folder / "points" / "p1")
    return folder


def exported(sweep: Path, *words: str) -> Result:
    return CliRunner().invoke(command, [str(sweep), *words])


@pytest.mark.lengthy
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_table_of_points_and_a_folder_of_tables_for_each(sweep: Path, tmp_path: Path, kind: str) -> None:
    done = exported(sweep, "--to", kind, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert done.stderr == "concurrency 2 has no tables: no recording\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"points.{kind}", "p1", "p4", "again"}
    read: Any = pyarrow.parquet.read_table if kind == "parquet" else pyarrow.csv.read_csv
    points = read(tmp_path / "out" / f"points.{kind}")
    assert points["load"].to_pylist() == [1, 2, 4, 1]
    assert points["ttft_p50_ms"].to_pylist() == load_sweep(sweep).table["ttft_p50_ms"].to_pylist()
    steps = read(tmp_path / "out" / "p4" / f"iterations.{kind}")
    assert steps.num_rows == load(sweep / "points" / "p4").iterations.num_rows


def test_a_name_from_the_file_moves_no_cursor(sweep: Path, tmp_path: Path) -> None:
    document = json.loads((sweep / "sweep.json").read_text())
    for row, word in zip(document["points"], ("a", "\x1b[2J", "c", "d"), strict=True):
        row["point"] |= {"note": word}
    (sweep / "sweep.json").write_text(json.dumps(document))
    assert "\x1b" not in exported(sweep, "--out", str(tmp_path / "out")).output


def test_the_json_of_vllm_bench_for_each_point(sweep: Path, tmp_path: Path) -> None:
    done = exported(sweep, "--to", "vllm-bench-serve", "--out", str(tmp_path / "out"), "--goodput", "ttft:5")
    assert done.exit_code == 0, done.output
    assert done.stderr == "concurrency 2 is left out: no recording\n"
    results = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").iterdir()}
    assert {name: result["label"] for name, result in results.items()} == {
        "p1": "concurrency 1 (1 of 2)",
        "again": "concurrency 1 (2 of 2)",
        "p4": "concurrency 4",
    }
    assert results["p4"]["completed"] == 4
    analysis = load_sweep(sweep).points[2].analysis
    assert analysis is not None
    assert results["p4"]["median_ttft_ms"] == analysis.summary.ttft.p50_ms
    assert results["p4"]["request_goodput"] == 0


def test_what_an_engine_said_of_a_text_is_a_table_too(sweep: Path, tmp_path: Path) -> None:
    document = json.loads((sweep / "sweep.json").read_text())
    for name in ("said", "failed"):
        point = {"label": f"perplexity, {name}", "engine": {}, "quality": {"text": "x"}}
        document["points"].append({"id": name, "point": point, "reason": "the engine died"})
    (sweep / "sweep.json").write_text(json.dumps(document))
    asked = ("tiny", "0.32.0", Precision("bfloat16", None, "auto"), Quality("x"), "t", "w")
    write_measured(sweep / "points" / "said", Measured(*asked, [200.0, 400.0], [100, 200], 0, 0, False, 1.0))
    assert exported(sweep, "--out", str(tmp_path / "out")).exit_code == 0
    said, failed = pyarrow.parquet.read_table(tmp_path / "out" / "perplexity.parquet").to_pylist()
    assert said["perplexity"] == pytest.approx(math.e**2)
    assert (failed["perplexity"], failed["reason"]) == (None, "the engine died")


def test_a_folder_that_holds_something_is_never_written_to(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    for kind in ("parquet", "vllm-bench-serve"):
        done = exported(sweep, "--to", kind, "--out", str(tmp_path / "out"))
        assert "already holds mine and is never overwritten" in str(done.exception)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_sweep_without_a_point_is_refused(sweep: Path, tmp_path: Path) -> None:
    document = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps(document | {"points": []}))
    assert "holds no point yet" in str(exported(sweep, "--out", str(tmp_path / "a")).exception)
    serve = exported(sweep, "--to", "vllm-bench-serve", "--out", str(tmp_path / "b"))
    assert "holds no point with a result as vllm bench writes it" in str(serve.exception)
    assert not list(tmp_path.glob("[ab]"))


def test_damaged_tables_of_one_point_take_no_other_along(sweep: Path, tmp_path: Path) -> None:
    (sweep / "points" / "p4" / "telemetry.arrow").write_bytes(b"torn")
    done = exported(sweep, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "concurrency 4 has no tables: " in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"points.parquet", "p1", "again"}
