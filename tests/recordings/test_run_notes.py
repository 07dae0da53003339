"""What a recording says about itself beside its figures."""

import json
from pathlib import Path

import pytest

from engine_probe.errors import InputError
from engine_probe.recordings.run import load
from tests.support.recordings.run_folders import ran, write_run
from tests.support.recordings.small_tables import table


def test_failed_loads_of_a_kv_connector_are_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ran(4))
    assert load(folder).notes == []
    facts = json.loads((folder / "run.json").read_text())
    facts["close"]["failed_kv_loads"] = 3
    (folder / "run.json").write_text(json.dumps(facts))
    (note,) = load(folder).notes
    assert "3 running requests" in note


def test_a_rank_that_recorded_nothing_is_called_out(tmp_path: Path) -> None:
    workers = table("workers", [{"iteration": 0, "rank": rank} for rank in (0, 1)])
    folder = write_run(tmp_path / "run", ran(4) | {"workers": workers})
    assert load(folder).notes == []
    facts = json.loads((folder / "run.json").read_text())
    facts["workers"]["ranks"][1]["rows"] = 0
    (folder / "run.json").write_text(json.dumps(facts))
    (note,) = load(folder).notes
    assert note.startswith("rank 1 recorded none of ")


def test_steps_that_took_no_time_are_refused(tmp_path: Path) -> None:
    """No rate can be told of them."""
    run = load(write_run(tmp_path / "run", {"iterations": table("iterations", [{"iteration": 0}])}))
    with pytest.raises(InputError, match="took no time: the recording is damaged"):
        run.summary()
