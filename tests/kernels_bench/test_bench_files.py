"""Reports go to disk and come back the same; broken ones are refused; ceilings are found again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kernels_bench.ceilings import read_ceilings, store
from kernels_bench.errors import InputError
from kernels_bench.files import Baseline, check_writable, read_report, write_report
from kernels_bench.report import curve, exit_code, summary
from kernels_bench.results import (
    FAIL,
    INVALID,
    MEASURED,
    PASS,
    SKIPPED,
    WARN,
    Check,
    Device,
    DeviceReport,
    Finding,
    Health,
    Reading,
    Report,
    Result,
    Skipped,
    Verdict,
)  # fmt: skip
from kernels_bench.verdicts import NO_MARK
from tests.kernels_bench.fakes import figure

EPYC = Device("cpu", "AMD EPYC", "cpu-1", 24 << 30, 32 << 20, 2)


def report(*results: Result, started: str = "2026-01-01T00:00:00+00:00", findings: tuple[Finding, ...] = ()) -> Report:
    part = DeviceReport(EPYC, Health(), Health(), findings)
    return Report("kernels_bench/1", started, 1.0, ("x",), True, 0.05, {"torch": "2"}, (part,), results)


def row(value: float = 2e10, verdict: Verdict = MEASURED, name: str = "copy") -> Result:
    return Result(verdict, ("a reason",), "cpu", figure=figure(value, name=name))


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    whole = report(row(), Result(SKIPPED, ("why",), "cpu", skipped=Skipped("pcie", "all", "why")))
    write_report(whole, tmp_path / "one.json")
    assert read_report(tmp_path / "one.json") == whole


def test_every_sample_is_in_the_file(tmp_path: Path) -> None:
    write_report(report(row()), tmp_path / "one.json")
    back = read_report(tmp_path / "one.json").results[0].figure
    assert back is not None
    assert [len(times) for times in back.samples.rounds_ns] == [3, 3, 3]


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    check_writable(path)
    path.write_text("dear")
    with pytest.raises(InputError, match="never overwritten"):
        check_writable(path)
    assert path.read_text() == "dear"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make it first"):
        check_writable(tmp_path / "no" / "one.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"\xff\xfe", "no report"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"schema": "kernels_bench/2"}', "Invalid enum value 'kernels_bench/2' - at `$.schema`"),
        (b'{"schemas": 1}', "unknown field `schemas`"),
    ],
)
def test_a_corrupt_baseline_says_where(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "base.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_report(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_a_cut_off_baseline_is_refused(tmp_path: Path) -> None:
    write_report(report(row()), tmp_path / "whole.json")
    cut = tmp_path / "cut.json"
    cut.write_bytes((tmp_path / "whole.json").read_bytes()[:-100])
    with pytest.raises(InputError, match="no report of kernels_bench"):
        read_report(cut)


def test_a_baseline_of_another_card_is_refused() -> None:
    baseline = Baseline(report(row()), Path("base.json"))
    baseline.check_covers("AMD EPYC")
    with pytest.raises(InputError, match=r"base\.json is of AMD EPYC, and this is NVIDIA L40S"):
        baseline.check_covers("NVIDIA L40S")


def test_a_baseline_finds_the_same_place_first_then_the_same_kind() -> None:
    baseline = Baseline(report(row(1e10)), Path("base.json"))
    same = baseline.figure("cpu", "AMD EPYC", "memory", "copy")
    kind = baseline.figure("cuda:5", "AMD EPYC", "memory", "copy")
    assert same is not None
    assert same == kind
    assert baseline.figure("cuda:5", "NVIDIA L40S", "memory", "copy") is None
    assert baseline.figure("cpu", "AMD EPYC", "memory", "triad") is None


def test_in_a_mixed_box_the_kind_counts_before_the_place() -> None:
    cards = {"cuda:0": ("NVIDIA L40S", 0.75e12), "cuda:1": ("NVIDIA H200", 4.2e12), "cuda:2": ("NVIDIA H200", 4.3e12)}
    parts = tuple(
        DeviceReport(Device(target, name, target, 1, 1, 1, "9.0"), Health(), Health(), ())
        for target, (name, _) in cards.items()
    )
    results = tuple(Result(PASS, ("",), target, figure=figure(value)) for target, (_, value) in cards.items())
    mixed = Baseline(msgspec.structs.replace(report(*results), devices=parts), Path("base.json"))
    for target, value in (("cuda:0", 4.2e12), ("cuda:2", 4.3e12)):
        found = mixed.figure(target, "NVIDIA H200", "memory", "copy")
        assert found is not None
        assert found.value == value


def test_a_bad_figure_is_nobodys_baseline() -> None:
    bad = Baseline(report(row(verdict=FAIL), row(verdict=INVALID)), Path("base.json"))
    assert bad.figure("cpu", "AMD EPYC", "memory", "copy") is None


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [((PASS, MEASURED), 0), ((WARN, SKIPPED), 0), ((INVALID, PASS), 3), ((FAIL, INVALID), 1), ((), 0)],
)
def test_the_exit_code_is_the_worst_verdicts(verdicts: tuple[Verdict, ...], code: int) -> None:
    assert exit_code(report(*(row(verdict=verdict) for verdict in verdicts))) == code


def test_a_run_that_was_stopped_says_so_and_a_fail_outranks_it() -> None:
    stopped = msgspec.structs.replace(report(row(verdict=INVALID)), stopped=True)
    assert exit_code(stopped) == 130
    assert "stopped by Ctrl-C before the end" in summary(stopped)
    assert exit_code(msgspec.structs.replace(report(row(verdict=FAIL)), stopped=True)) == 1


def test_ill_health_alone_fails_too() -> None:
    assert exit_code(report(row(), findings=(Finding(FAIL, "no spare rows"),))) == 1


def test_the_summary_counts_verdicts_and_right_results() -> None:
    right, wrong = (
        Result(verdict, (NO_MARK,), "cpu", figure=figure(1e9, check=Check(verdict != FAIL, "float64", 1, 0.5)))
        for verdict in (MEASURED, FAIL)
    )
    first, second = summary(report(right, right, wrong)).splitlines()
    assert first == "1 [bold red]FAIL[/], 2 [cyan]MEASURED[/]; 2 of 3 results right; 1 s (quick)"
    assert "no pass mark known for this hardware" in second


def test_the_curve_of_a_sustained_run_in_a_line() -> None:
    readings = [
        Reading(1, sm_mhz=1980, power_mw=650_000, temperature_c=50),
        Reading(2, sm_mhz=1700, power_mw=700_000),
        Reading(3, sm_mhz=1755, power_mw=699_900, temperature_c=67),
    ]
    assert curve(readings) == (
        "clock 1980 → 1755 MHz (1700 to 1980), power 650 → 699 W (650 to 700), temperature 50 → 67 °C (50 to 67)"
    )
    at_limit = [Reading(1, slowed_by=4), Reading(2, slowed_by=0), Reading(3, slowed_by=5), Reading(4, slowed_by=4)]
    assert curve(at_limit) == "at the power limit in 75% of the looks"
    assert curve([Reading(1)]) == "the card says nothing of clock, power and temperature"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
    return tmp_path


def test_ceilings_are_kept_by_device_and_the_newest_of_each_name_is_read(own_cache: Path) -> None:
    store(report(row(1e10), row(3e10, name="triad")))
    (path,) = store(report(row(2e10), started="2026-02-01T00:00:00+00:00"))
    assert path.parent == own_cache / "ceilings" / "cpu-1"
    found = read_ceilings("cpu-1")
    assert {name: ceiling.value for name, ceiling in found.items()} == {"memory copy": 2e10, "memory triad": 3e10}
    assert read_ceilings("cpu-2") == {}


def test_two_runs_in_one_second_keep_a_file_each(own_cache: Path) -> None:
    paths = [store(report(row(value)))[0] for value in (1e10, 2e10, 3e10)]
    assert [path.name for path in paths] == [
        "20260101T000000+0000.json",
        "20260101T000000+0000_002.json",
        "20260101T000000+0000_003.json",
    ]
    assert read_ceilings("cpu-1")["memory copy"].value == 3e10  # the last one is the newest


def test_a_restless_run_hides_no_stable_ceiling(own_cache: Path) -> None:
    restless = Result(MEASURED, ("unstable",), "cpu", figure=figure(5e9, stable=False))
    store(report(restless))
    assert read_ceilings("cpu-1")["memory copy"].value == 5e9
    store(report(row(2e10), started="2026-02-01T00:00:00+00:00"))
    store(report(restless, started="2026-03-01T00:00:00+00:00"))
    assert read_ceilings("cpu-1")["memory copy"].value == 2e10


def test_wrong_and_invalid_figures_are_no_ceilings(own_cache: Path) -> None:
    assert store(report(row(verdict=FAIL), row(verdict=INVALID))) == []
    assert read_ceilings("cpu-1") == {}


def test_a_broken_ceilings_file_hides_nothing_else(own_cache: Path) -> None:
    (path,) = store(report(row(1e10)))
    path.with_name("2027.json").write_text("{")
    assert read_ceilings("cpu-1")["memory copy"].value == 1e10
