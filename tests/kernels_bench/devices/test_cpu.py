"""The CPU's description, from what the kernel reports, also if that is incomplete."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels_bench.devices import cpu

MIB = 1 << 20


def test_name_cache_and_free_memory_come_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 9354\n")
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:   2048 kB\n")
    for index, size in enumerate(("32K", "1024K", "256M", "")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cpu, "CACHES", tmp_path)
    device = cpu.cpu()
    assert (device.target, device.name, device.cache_bytes) == ("cpu", "AMD EPYC 9354", 256 * MIB)
    assert cpu.host_free_bytes() == 2 * MIB


def test_a_silent_kernel_leaves_a_device_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CPUINFO", "MEMINFO", "CACHES"):
        monkeypatch.setattr(cpu, name, tmp_path / "nothing")
    device = cpu.cpu()
    assert device.name
    assert device.cache_bytes == 32 * MIB
    assert cpu.host_free_bytes() > 0


def test_the_identity_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu.cpu().identity == cpu.cpu().identity
    here = cpu.cpu().identity
    monkeypatch.setattr(cpu.platform, "node", lambda: "another machine")
    assert cpu.cpu().identity != here
