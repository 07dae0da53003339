"""`doctor --deep` on the real engine, beside a process that keeps the machine busy."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from engine_probe.commands.doctor.check_result import FINE
from engine_probe.commands.doctor.deep import check_engine
from tests.support.processes.planted_load import planted_load


@pytest.mark.slow
def test_all_is_well_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with planted_load():
        checks = check_engine()
    assert [(check.what, check.state) for check in checks] == [
        ("engine", FINE),
        ("generation", FINE),
        ("recording", FINE),
    ], [check.found for check in checks]
    assert not list(tmp_path.iterdir())
