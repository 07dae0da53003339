"""The share of the cores that other programs used, from the kernel's counters, with the test's clock."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from kernels_bench.timing import other_load
from kernels_bench.timing.other_load import OtherLoad

TICKS = os.sysconf("SC_CLK_TCK")


def stat(path: Path, *cores: Sequence[float]) -> Path:
    """Each core's seconds of user, idle and steal time."""
    rows = [
        f"cpu{number} {int(user * TICKS)} 0 0 {int(idle * TICKS)} 0 0 0 {int(steal * TICKS)} 0 0"
        for number, (user, idle, steal) in enumerate(cores)
    ]
    path.write_text("\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *rows, "intr 5"]))
    return path


def measured(tmp_path: Path, own_s: float, *cores: Sequence[float]) -> float | None:
    """Over ten seconds in which this process used `own_s` of the cores."""
    path = stat(tmp_path / "stat", *([(0, 0, 0)] * len(cores)))
    own, now = iter([1.0, 1.0 + own_s]), iter([100.0, 110.0])
    load = OtherLoad(path, lambda: next(own), lambda: next(now))
    stat(path, *cores)
    return load.share()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_load, "affinity", lambda: {0, 1})


def test_a_quiet_machine(tmp_path: Path) -> None:
    assert measured(tmp_path, 20.0, (10, 0, 0), (10, 0, 0)) == 0


def test_another_program_on_one_of_two_cores(tmp_path: Path) -> None:
    assert measured(tmp_path, 5.0, (10, 0, 0), (5, 5, 0)) == pytest.approx(0.5)  # 15 s of work, 5 s of it ours


def test_time_that_other_virtual_machines_take_counts(tmp_path: Path) -> None:
    assert measured(tmp_path, 10.0, (5, 0, 5), (5, 5, 0)) == pytest.approx(0.25)


def test_work_on_the_cores_of_others_shares_the_memory(tmp_path: Path) -> None:
    """We may use two of four cores; what runs on the other two counts as a share of all four."""
    assert measured(tmp_path, 20.0, (10, 0, 0), (10, 0, 0), (8, 2, 0), (8, 2, 0)) == pytest.approx(0.4)


def test_a_kernel_that_counts_nothing_is_not_a_quiet_one(tmp_path: Path) -> None:
    assert measured(tmp_path, 20.0, (0, 0, 0), (0, 0, 0)) is None


def test_a_system_without_such_counters(tmp_path: Path) -> None:
    now = iter([0.0, 1.0])
    assert OtherLoad(tmp_path / "nothing", lambda: 0.0, lambda: next(now)).share() is None
