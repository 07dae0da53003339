"""`--quick` takes a minute, by the test's clock; what does not fit is left out and listed in the report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kernels_bench.benchmarks import launch_latency, matmul, memory_bandwidth, sustained_matmul
from kernels_bench.benchmarks.context import Bench
from kernels_bench.output.page.document import page
from kernels_bench.output.progress import Screen
from kernels_bench.output.terminal import summary
from kernels_bench.results import Device, Figure, Report
from kernels_bench.run import device_tests
from kernels_bench.run.report_builder import Options
from kernels_bench.timing.budget import CLOSING_S, MINUTE_S, until_ns
from kernels_bench.timing.measure import FULL, QUICK, OutOfTimeError, Work, rate
from tests.support.devices.fake_bench import FakeClock
from tests.support.values import has_values, values

PROCESSOR = Device("cpu", "a processor", "cpu-1", 8 << 30, 1 << 20, 2)
NAMES = {"memory": ("copy", "read", "triad"), "gemm": ("bf16 square", "bf16 best shape")}
END_S = MINUTE_S - CLOSING_S
Told = tuple[Report, float]


def run(monkeypatch: pytest.MonkeyPatch, call_s: float, quick: bool = True, spent_s: float = 0.0) -> Told:
    """The report and the seconds it took, where each call takes `call_s` and other programs use 48 % of the cores."""
    clock = FakeClock(lambda sample: call_s * 1e9)

    @contextmanager
    def no_nvml(devices: tuple[Device, ...]) -> Iterator[None]:
        yield None

    def module(test: str) -> Any:
        def measured(bench: Bench) -> Iterator[Figure]:
            for name in NAMES[test]:
                samples = bench.measure(name, Work((lambda: None,), 1 << 40))
                yield rate(test, name, "B/s", 1000, samples)

        return SimpleNamespace(run=measured)

    monkeypatch.setattr(device_tests, "open_nvml", no_nvml)
    monkeypatch.setattr(device_tests, "OtherLoad", lambda: SimpleNamespace(share=lambda: 0.48))
    monkeypatch.setattr(device_tests, "_module", module)
    effort = QUICK if quick else FULL
    monkeypatch.setattr(
        device_tests, "_bench", lambda state, device: Bench(device, clock, effort, quick, lambda text: None)
    )
    with Screen() as screen:
        report = device_tests.run(Options((PROCESSOR,), tuple(NAMES), quick, 0.05, spent_s=spent_s), screen)
    return report, clock.now_ns() / 1e9


def names(report: Report) -> list[str]:
    return [f"{result.test} {result.name}" for result in report.results]


def test_a_fast_machine_is_measured_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    report, seconds = run(monkeypatch, 0.01)
    assert names(report) == [f"{test} {name}" for test, found in NAMES.items() for name in found]
    assert report.measured_less == ()
    assert seconds < END_S


def test_a_slow_machine_is_measured_less_and_the_report_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure takes ten calls here, 18 s: memory has 43 s, and gemm what is left of the minute."""
    report, seconds = run(monkeypatch, 1.8)
    assert report.measured_less == (
        "memory copy only 1 round",
        "memory read only 1 round",
        "memory triad and what follows it left out",
        "gemm bf16 square and what follows it left out",
    )
    assert names(report)[2:] == ["memory triad and what follows it", "gemm bf16 square and what follows it"]
    assert seconds < END_S
    assert "measured less[/], to end in time" in summary(report)
    assert "gemm bf16 square and what follows it left out" in page(report)


def test_time_before_the_tests_is_part_of_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    report, seconds = run(monkeypatch, 0.01, spent_s=END_S)
    assert names(report) == ["memory all", "gemm all"]
    assert seconds == 0


def test_without_quick_there_is_no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    report, seconds = run(monkeypatch, 3.0, quick=False)
    assert len(report.results) == 5
    assert not any(result.skipped for result in report.results)
    assert seconds > MINUTE_S


def test_figures_beside_other_programs_are_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    report, _ = run(monkeypatch, 0.01)
    assert [values(doubt) for result in report.results for doubt in result.doubts] == [["48%"]] * 5
    assert {result.others_share for result in report.results} == {0.48}
    assert has_values(summary(report), "5", "5")


def test_each_test_leaves_the_later_ones_their_time() -> None:
    tests = ("memory", "gemm", "launch")
    ends = [until_ns(0, 1, test, tests) / 1e9 for test in tests]
    assert ends == sorted(ends)
    assert ends[-1] == END_S
    assert until_ns(0, 2, "memory", tests) / 1e9 == ends[0] + MINUTE_S  # of the second device


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "usable_bytes", lambda bench: 64 << 20)
    monkeypatch.setattr(matmul, "CPU_SQUARES", (128, 64))
    monkeypatch.setattr(matmul, "DECODE_N", 64)


def bench(left_s: float, call_s: float = 0.01) -> Bench:
    clock = FakeClock(lambda sample: call_s * 1e9, cache_bytes=1 << 20)
    return Bench(PROCESSOR, clock, QUICK, True, lambda text: None, until_ns=left_s * 1e9)


def test_smaller_copies_give_way_to_the_other_directions(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_bandwidth, "SIZES", (1 << 10, 1 << 11, 1 << 12))
    found = [figure for figure in memory_bandwidth.run(bench(left_s=2.0)) if isinstance(figure, Figure)]
    assert [figure.name for figure in found] == ["copy", "read", "write", "triad"]
    copied = found[0]
    assert 0 < len(copied.trials) < 3
    assert copied.measured_less == (f"{len(copied.trials)} of 3 smaller sizes",)
    whole = next(iter(memory_bandwidth.run(bench(left_s=600.0))))
    assert isinstance(whole, Figure)
    assert (len(whole.trials), whole.measured_less) == (3, ())


def test_a_short_search_says_how_many_shapes_it_tried(small: None) -> None:
    (best,) = matmul.search(bench(left_s=1.0))
    assert isinstance(best, Figure)
    tried = best.detail["shapes_tried"]
    assert best.measured_less[0] == f"{tried} of {best.detail['shapes']} shapes"
    assert int(tried) < int(best.detail["shapes"])


def test_a_sustained_run_that_does_not_fit_is_left_out(small: None) -> None:
    (left_out,) = sustained_matmul.run(bench(left_s=2.0, call_s=1e-6))
    assert left_out.name == "bf16 5 s"
    assert not isinstance(left_out, Figure)
    assert left_out.out_of_time
    assert left_out.reason == "left out: 2.0 s of the minute of --quick were left"


@pytest.mark.parametrize("test", [memory_bandwidth, matmul, launch_latency])
def test_no_test_begins_a_figure_after_its_end(test: Any, small: None) -> None:
    with pytest.raises(OutOfTimeError):
        list(test.run(bench(left_s=-1.0)))


def test_large_operands_on_a_processor_are_random_and_do_not_repeat_by_rows() -> None:
    from kernels_bench.benchmarks.number_formats import TILE, normal

    values = normal((2 * TILE // 1024, 1024), torch.float32, torch.device("cpu"))
    assert abs(float(values.mean())) < 0.01
    assert abs(float(values.std()) - 1) < 0.01
    assert not torch.equal(values[0], values[TILE // 1024])


def test_what_a_processor_lacks_is_not_left_out_for_want_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMES, "pcie", ())
    report, _ = run(monkeypatch, call_s=0.01, spent_s=MINUTE_S)
    assert {result.test for result in report.results if result.skipped and result.skipped.out_of_time} == {
        "memory",
        "gemm",
    }
