"""The rates of a CPU's cores, by the time that they worked, for the number formats in which they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.engine.cpu import amx, core_rates
from engine_probe.engine.cpu.core_rates import TWO_BYTES, has_no_faster_format, rate


def test_a_rate_is_by_the_time_of_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs delay the work and do not change that time."""
    times = iter([1_000_000, 3_000_000])
    monkeypatch.setattr(core_rates.time, "thread_time_ns", lambda: next(times))
    done: list[str] = []
    assert rate(500.0, lambda: done.append("once")) == 500.0 / 0.002
    assert done == ["once"]


@pytest.mark.parametrize(
    ("flags", "same"),
    [
        (["avx2", "fma"], True),
        (["avx2", "avx512f", "avx512_vnni"], True),
        (["avx512f", "avx512_bf16"], False),
        (["amx_tile", "amx_int8"], False),
        ([], False),  # no x86 core, of which this file says something else
    ],
)
def test_two_bytes_are_no_faster_than_four_where_no_instruction_is_for_them(flags: list[str], same: bool) -> None:
    assert has_no_faster_format(flags) is same


def test_the_instruction_sets_are_those_of_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(amx, "CPUINFO", tmp_path / "cpuinfo")
    assert amx.cpu_flags() == []
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert amx.cpu_flags() == ["fpu", "avx2"]


@pytest.mark.parametrize(("flags", "formats"), [(["avx2"], {"float32", *TWO_BYTES}), (["amx_tile"], {"float32"})])
def test_all_cores_count_and_a_format_with_instructions_of_its_own_has_no_rate(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], formats: set[str]
) -> None:
    monkeypatch.setattr(core_rates.os, "sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr(core_rates, "cpu_flags", lambda: flags)
    monkeypatch.setattr(core_rates, "rate", lambda amount, work: amount)
    read, multiplied = core_rates.core_rates()
    assert read == pytest.approx(core_rates.BUFFER_BYTES, rel=1e-6)
    assert multiplied == dict.fromkeys(formats, 3 * 2.0 * core_rates.MATRICES * core_rates.SIDE**3)
