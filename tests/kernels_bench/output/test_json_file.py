"""Reports are the same after writing and reading; broken ones are refused; ceilings are found again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kernels_bench.devices.ceilings import Ceiling, ceilings_of, judged, not_used, read_ceilings, replaces, store
from kernels_bench.errors import InputError
from kernels_bench.judge.doubts import doubts
from kernels_bench.judge.fleet import exit_code
from kernels_bench.judge.verdicts import NO_MARK
from kernels_bench.output.json_file import Baseline, check_writable, read_report, write_report
from kernels_bench.output.terminal import curve, summary
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
from tests.support.devices.fake_bench import figure
from tests.support.values import has_values, values

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
        (b"\xff\xfe", "not a report"),
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
    with pytest.raises(InputError, match="not a report of kernels_bench"):
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
    assert values(first) == ["1", "2", "2", "3", "1"]  # FAIL, MEASURED, right, of, seconds
    assert "[bold red]FAIL[/]" in first
    assert "quick" in first
    assert "no pass mark known for this hardware" in second


def test_the_curve_of_a_sustained_run_in_a_line() -> None:
    readings = [
        Reading(1, sm_mhz=1980, power_mw=650_000, temperature_c=50),
        Reading(2, sm_mhz=1700, power_mw=700_000),
        Reading(3, sm_mhz=1755, power_mw=699_900, temperature_c=67),
    ]
    assert [values(part) for part in curve(readings).split(", ")] == [
        ["1980", "1755", "1700", "1980"],
        ["650", "699", "650", "700"],
        ["50", "67", "50", "67"],
    ]
    at_limit = [Reading(1, slowed_by=4), Reading(2, slowed_by=0), Reading(3, slowed_by=5), Reading(4, slowed_by=4)]
    assert values(curve(at_limit)) == ["75%"]
    assert "power limit" in curve(at_limit)
    assert curve([Reading(1)]) == "the GPU does not report clock, power and temperature"


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


def quiet(value: float) -> Result:
    """Measured while nothing else ran."""
    return msgspec.structs.replace(row(value), others_share=0.0)


def beside_others(value: float) -> Result:
    return msgspec.structs.replace(row(value), others_share=0.48, doubts=(BUSY,))


BUSY = "measured while other programs used 48% of the cores"
DAYS = ("2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00")


def test_a_ceiling_carries_what_it_rests_on(own_cache: Path) -> None:
    store(report(quiet(2e10)))
    found = read_ceilings("cpu-1")["memory copy"]
    assert (found.verdict, found.doubts, found.others_share) == ("trusted", (), 0.0)
    assert (found.samples, found.spread) == (9, 0.0)


def test_a_doubtful_run_never_replaces_a_trusted_one_and_is_kept_beside_it(own_cache: Path) -> None:
    store(report(quiet(2e10)))
    later = report(beside_others(1e10), started=DAYS[0])
    assert len(store(later)) == 1
    assert read_ceilings("cpu-1")["memory copy"].value == 2e10
    (told,) = not_used(later)
    assert BUSY in told
    assert has_values(told.partition(BUSY)[0], "10.0")
    assert values(told.partition(BUSY)[2])[0] == "20.0"


def test_a_trusted_run_replaces_a_doubtful_one(own_cache: Path) -> None:
    store(report(beside_others(3e10)))
    later = report(quiet(2e10), started=DAYS[0])
    store(later)
    assert read_ceilings("cpu-1")["memory copy"].value == 2e10
    assert list(not_used(later)) == []


def test_of_doubtful_ones_the_highest_is_used(own_cache: Path) -> None:
    """Other programs make a device slower, never faster; a time is better the shorter it is."""
    for value, day in ((1e10, DAYS[0]), (3e10, DAYS[1]), (2e10, "2026-04-01T00:00:00+00:00")):
        store(report(beside_others(value), started=day))
    assert read_ceilings("cpu-1")["memory copy"].value == 3e10
    slow, fast = (judged(Ceiling(ns, "ns", False, True, DAYS[0], {})) for ns in (9.0, 3.0))
    assert replaces(fast, slow)
    assert not replaces(slow, fast)


def test_a_load_that_nobody_counted_is_not_known(own_cache: Path) -> None:
    store(report(row(2e10)))
    found = read_ceilings("cpu-1")["memory copy"]
    assert (found.verdict, found.doubts) == ("not known", ("not known whether other programs used the machine",))


def test_files_of_older_versions_still_open(own_cache: Path) -> None:
    """They say nothing of other programs: not known, and doubtful where they were unstable."""
    old = {"value": 2e10, "unit": "B/s", "stable": True, "quick": True, "measured": DAYS[0], "detail": {}}
    ceilings = {"memory copy": old, "memory read": old | {"stable": False}}
    folder = own_cache / "ceilings" / "cpu-1"
    folder.mkdir(parents=True)
    stored = {"schema": "kernels_bench.ceilings/1", "identity": "cpu-1", "device": "x", "versions": {}}
    (folder / "20260201T000000+0000.json").write_bytes(msgspec.json.encode(stored | {"ceilings": ceilings}))
    found = read_ceilings("cpu-1")
    unknown = "not known whether other programs used the machine"
    assert (found["memory copy"].verdict, found["memory copy"].doubts) == ("not known", (unknown,))
    assert (found["memory read"].verdict, found["memory read"].doubts) == ("doubtful", ("unstable", unknown))
    store(report(beside_others(1e10), started=DAYS[1]))
    assert read_ceilings("cpu-1")["memory copy"].value == 2e10


@pytest.mark.parametrize(
    ("name", "test", "share", "users", "verdict"),
    [
        ("memory bandwidth of a GPU does not depend on the host", "memory", 0.48, (), "trusted"),
        ("launches do", "launch", 0.48, (), "doubtful"),
        ("nobody says who uses the GPU", "memory", 0.0, None, "not known"),
    ],
)
def test_ceilings_of_a_gpu(name: str, test: str, share: float, users: tuple[int, ...] | None, verdict: str) -> None:
    measured = figure(4e12, test=test)
    gpu = Device("cuda:0", "NVIDIA H200", "GPU-1", 1, 1, 1, "9.0")
    result = Result(PASS, (), "cuda:0", measured, None, share, doubts(measured, True, share, 0.05))
    part = DeviceReport(gpu, Health(processes=users), Health(processes=users), ())
    (stored,) = ceilings_of(msgspec.structs.replace(report(result), devices=(part,)))
    assert stored.ceilings[f"{test} copy"].verdict == verdict


def test_a_gpu_that_somebody_unseen_keeps_busy_gives_doubtful_ceilings() -> None:
    seen = Finding(INVALID, "40.0 GiB in use and 90 % busy before the run, by somebody whom this user may not see")
    gpu = Device("cuda:0", "NVIDIA H200", "GPU-1", 1, 1, 1, "9.0")
    part = DeviceReport(gpu, Health(processes=()), Health(processes=()), (seen,))
    result = Result(PASS, (), "cuda:0", figure(4e12), None, 0.0)
    (stored,) = ceilings_of(msgspec.structs.replace(report(result), devices=(part,)))
    assert (stored.ceilings["memory copy"].verdict, stored.ceilings["memory copy"].doubts) == ("doubtful", (seen.text,))


def test_wrong_and_invalid_figures_are_no_ceilings(own_cache: Path) -> None:
    assert store(report(row(verdict=FAIL), row(verdict=INVALID))) == []
    assert read_ceilings("cpu-1") == {}


def test_a_broken_ceilings_file_hides_nothing_else(own_cache: Path) -> None:
    (path,) = store(report(row(1e10)))
    path.with_name("2027.json").write_text("{")
    assert read_ceilings("cpu-1")["memory copy"].value == 1e10
