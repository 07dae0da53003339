"""What an engine of a fleet keeps on its machine: a folder of its own, which is gone with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from engine_probe.errors import UnavailableError
from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.sweep.execution.engine_run import EngineLimits
from engine_probe.sweep.fleet.remote_engine import SCRATCH, RemoteEngine


@pytest.fixture
def engine() -> RemoteEngine:
    return RemoteEngine(EngineSection("tiny"), False, EngineLimits(), {})


def test_its_copies_of_data_sets_are_removed_when_it_ends(
    engine: RemoteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine._keep({"far/asked.jsonl": b"{}"})
    (copy,) = tmp_path.rglob("asked.jsonl")
    assert copy.read_bytes() == b"{}"
    engine.close()
    assert list(tmp_path.glob(f"{SCRATCH}*")) == []


def test_a_machine_without_room_for_it_is_named(
    engine: RemoteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(UnavailableError, match="no scratch folder can be made"):
        engine._keep({"far/asked.jsonl": b"{}"})
