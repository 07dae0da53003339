"""The energy of CPU packages and memory by the kernel's counters: which count, and their wraps."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.telemetry.host_energy import HostEnergy

ZONES = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:1": "psys"}


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Counters of a package, its cores, its memory and the whole platform, each of up to 10 J."""
    for folder, name in ZONES.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").write_text(f"{name}\n")
        (tmp_path / folder / "max_energy_range_uj").write_text("9999999\n")
        (tmp_path / folder / "energy_uj").write_text("1000000\n")
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def counted(powercap: Path, **microjoules: int) -> None:
    for folder, name in ZONES.items():
        if name.partition("-")[0] in microjoules:
            (powercap / folder / "energy_uj").write_text(f"{microjoules[name.partition('-')[0]]}\n")


def test_packages_and_memory_are_summed_and_nothing_twice(powercap: Path) -> None:
    """3 J of the package and 1 J of memory; 2 J of cores are in the package, and the platform is another sum."""
    energy = HostEnergy(powercap)
    assert energy.read_mj() == 0
    counted(powercap, package=4_000_000, core=3_000_000, dram=2_000_000, psys=9_000_000)
    assert energy.read_mj() == 4000
    assert energy.notes == []


def test_a_counter_begins_anew_after_its_range(powercap: Path) -> None:
    """From 9 to 10 J, which is 0, and on to 2 J: 3 J; then 1 J more."""
    counted(powercap, package=9_000_000)
    energy = HostEnergy(powercap)
    counted(powercap, package=2_000_000)
    assert energy.read_mj() == 3000
    counted(powercap, package=3_000_000)
    assert energy.read_mj() == 4000


def test_a_machine_without_counters_has_no_energy(tmp_path: Path) -> None:
    energy = HostEnergy(tmp_path)
    assert (energy.read_mj(), energy.notes) == (None, [])


def test_a_counter_that_cannot_be_read_is_said(powercap: Path) -> None:
    """As of root alone: a file that is missing stands for it, since tests may run as root."""
    (powercap / "intel-rapl:0" / "energy_uj").unlink()
    energy = HostEnergy(powercap)
    assert energy.read_mj() is None
    assert energy.notes == ["host: the energy of the CPUs cannot be read (No such file or directory)"]


def test_a_counter_that_goes_away_ends_the_energy(powercap: Path) -> None:
    energy = HostEnergy(powercap)
    (powercap / "intel-rapl:0" / "energy_uj").write_text("gone")
    assert energy.read_mj() is None
    counted(powercap, package=4_000_000)
    assert energy.read_mj() is None
