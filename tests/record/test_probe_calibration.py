"""What the probe's clock does not count is kept for a machine, and carried by its recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.errors import UnavailableError
from engine_probe.record.probe_calibration import Calibration, Uncounted, calibration_file, read, store
from engine_probe.telemetry.hardware import hardware_facts
from kernels_bench.devices.cpu import cpu

FIRST, SECOND = Uncounted(1, 1900.0, 400.0), Uncounted(32, 2500.0, 700.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "cache"))


def test_the_last_measurement_of_a_machine_is_kept() -> None:
    assert read("a-machine") == Calibration()
    store("a-machine", [FIRST])
    store("a-machine", [FIRST, SECOND], 900.0)
    assert read("a-machine") == Calibration((FIRST, SECOND), 900.0)
    assert read("another") == Calibration()


def test_a_damaged_file_is_no_measurement() -> None:
    path = store("a-machine", [FIRST])
    for content in ("", "{", '{"uncounted": [{"running": "one"}]}'):
        path.write_text(content)
        assert read("a-machine") == Calibration()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    with pytest.raises(UnavailableError, match="choose another folder with ENGINE_PROBE_CACHE") as raised:
        store("a-machine", [FIRST])
    assert str(calibration_file("a-machine")) in str(raised.value)


def test_a_recording_carries_the_measurement_of_its_machine() -> None:
    assert hardware_facts()["probe_uncounted"] == ()
    store(cpu().identity, [FIRST], 900.0)
    facts = hardware_facts()
    assert facts["probe_uncounted"] == ({"running": 1, "ns": 1900.0, "half_width_ns": 400.0},)
    assert facts["probe_collective_ns"] == 900.0
