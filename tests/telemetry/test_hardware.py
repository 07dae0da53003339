"""The machine's description in `run.json`: what could be read, and the ceilings that were measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pynvml
import pytest

from engine_probe.telemetry import hardware
from kernels_bench.devices.ceilings import Ceiling, Ceilings
from kernels_bench.devices.cpu import cpu


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))


def test_a_machine_nobody_measured_has_no_ceilings() -> None:
    facts = hardware.hardware_facts()
    assert facts["host"]["cores"] >= 1
    assert facts["host"]["memory_bytes"] > 1 << 28
    assert facts["ceilings"] == {}


def test_what_validate_stored_is_carried(tmp_path: Path) -> None:
    identity = cpu().identity
    copy = Ceiling(15e9, "B/s", True, False, "2026-11-21T09:00:00Z", {})
    stored = Ceilings("kernels_bench.ceilings/1", identity, "a processor", {}, {"memory copy": copy})
    path = tmp_path / "ceilings" / identity / "20261121T090000Z.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(stored))
    carried = hardware.hardware_facts()["ceilings"][identity]["memory copy"]
    assert carried["value"] == 15e9
    assert carried["verdict"] == "not known"
    assert list(carried["doubts"]) == ["not known whether other programs used the machine"]


def test_a_driver_that_does_not_answer_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lost)
    assert hardware.hardware_facts()["gpus"] == []


def test_a_cache_that_may_not_be_read_holds_no_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user with root's HOME."""

    true = Path.glob

    def refused(path: Path, pattern: str) -> Iterator[Path]:
        if pattern == "*.json":
            raise PermissionError(13, "Permission denied", str(path))
        return true(path, pattern)

    monkeypatch.setattr(Path, "glob", refused)
    assert hardware.hardware_facts()["ceilings"] == {}


def test_a_host_that_hides_proc_has_a_processor_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels_bench.devices.cpu.CPUINFO", tmp_path)  # no file to read
    assert hardware.hardware_facts()["host"]["cores"] >= 1
