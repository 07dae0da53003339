"""The suite on fake GPUs: throttling, too little memory and a GPU that dies each become a row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kernels_bench.benchmarks.context import Bench
from kernels_bench.devices.nvml import Nvml
from kernels_bench.judge.fleet import exit_code
from kernels_bench.output.progress import Screen
from kernels_bench.output.terminal import show
from kernels_bench.results import FAIL, INVALID, PASS, SKIPPED, WARN, Device, Figure, Report
from kernels_bench.run import device_tests
from kernels_bench.run.report_builder import Options
from kernels_bench.timing.measure import QUICK
from kernels_bench.timing.rank_group import RankGroupError
from tests.support.devices.fake_bench import L40S, FakeClock, by_uuid, figure, small_nvml
from tests.support.values import has_values

THERMAL = 64
GOOD = 0.8e12  # bytes per second; the L40S's mark is 0.72e12


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Run tests on fake L40S GPUs, whose NVML returns the given values."""

    def run(
        tests: dict[str, Callable[[], Iterator[Figure]]],
        cards: int = 1,
        between: Any = None,
        opens: Any = None,
        **answers: Any,
    ) -> Report:
        @contextmanager
        def opened(devices: tuple[Device, ...]) -> Iterator[Nvml]:
            yield Nvml(small_nvml(nvmlDeviceGetHandleByUUID=by_uuid, **answers), devices)

        def fake_bench(state: Any, device: Device) -> Bench:
            return Bench(device, FakeClock(lambda sample: 1e6), QUICK, True, lambda text: None)

        monkeypatch.setattr(device_tests, "open_nvml", opened)
        monkeypatch.setattr(device_tests, "_bench", opens or fake_bench)

        def module(test: str) -> SimpleNamespace:
            if between:
                return SimpleNamespace(run=between, pairs=lambda benches: list(permutations(benches, 2)))
            return SimpleNamespace(run=lambda bench: tests[test]())

        monkeypatch.setattr(device_tests, "_module", module)
        devices = tuple(
            Device(f"cuda:{index}", L40S.name, f"GPU-{index}", 48 << 30, 96 << 20, 142, "8.9") for index in range(cards)
        )
        with Screen() as screen:
            return device_tests.run(Options(devices, tuple(tests), True, 0.05), screen)

    return run


@pytest.fixture(autouse=True)
def a_quiet_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_tests, "OtherLoad", lambda: SimpleNamespace(share=lambda: 0.0))


@pytest.fixture(autouse=True)
def nothing_to_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_tests, "release", lambda device: None)


def good() -> Iterator[Figure]:
    yield figure(GOOD)


def test_a_good_card_passes(card: Callable[..., Report]) -> None:
    report = card({"memory": good})
    assert [result.verdict for result in report.results] == [PASS]
    assert exit_code(report) == 0


@pytest.mark.parametrize("links", [0, 10])
def test_a_link_to_the_cpus_package_is_not_taken_for_pcie(card: Callable[..., Report], links: int) -> None:
    """400 GB/s is beyond any slot, and what NVLink-C2C carries."""
    field = SimpleNamespace(nvmlReturn=3, value=SimpleNamespace(uiVal=links))  # every constant of this NVML is 3
    found = [figure(400e9, "pcie", "to card, pinned")]
    (result,) = card({"pcie": lambda: iter(found)}, nvmlDeviceGetFieldValues=[field]).results
    told = "; ".join(result.reasons)
    assert (result.verdict == WARN, "NVLink-C2C" in told) == (not links, bool(links))


def test_a_throttled_card_is_caught(card: Callable[..., Report]) -> None:
    looks: list[int] = []

    def hot(handle: str) -> int:
        looks.append(1)
        return THERMAL

    def slow_work() -> Iterator[Figure]:
        while len(looks) < 3:
            pass
        yield figure(GOOD)

    report = card({"memory": slow_work}, nvmlDeviceGetCurrentClocksEventReasons=hot, nvmlDeviceGetTemperature=92)
    (result,) = report.results
    assert result.verdict == INVALID
    assert result.reasons == ("slowed down while it ran: too hot (hardware), 92 °C",)
    assert exit_code(report) == 3


def test_a_card_in_use_is_left_to_its_users(card: Callable[..., Report]) -> None:
    def disturbs() -> Iterator[Figure]:
        raise AssertionError("measured on a card that others use")
        yield

    report = card({"memory": disturbs}, nvmlDeviceGetComputeRunningProcesses=[SimpleNamespace(pid=7)])
    assert [result.verdict for result in report.results] == [INVALID]
    assert "so it was not touched: 7; end them, or name other GPUs" in report.results[0].reasons[0]
    assert exit_code(report) == 3


def test_who_comes_during_the_run_spoils_it(card: Callable[..., Report]) -> None:
    asked: list[int] = []

    def running(handle: str) -> list[SimpleNamespace]:
        asked.append(1)
        return [SimpleNamespace(pid=os.getpid()), *([SimpleNamespace(pid=8)] if len(asked) > 1 else [])]

    report = card({"memory": good}, nvmlDeviceGetComputeRunningProcesses=running)
    assert report.results[0].reasons == ("other processes are on the GPU: 8",)


def test_too_little_memory_is_a_row_and_the_next_test_runs(card: Callable[..., Report]) -> None:
    def hungry() -> Iterator[Figure]:
        yield figure(GOOD)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    report = card({"memory": hungry, "attention": lambda: iter([figure(5e11, "attention", "decode")])})
    assert [(result.test, result.verdict) for result in report.results][:2] == [("memory", PASS), ("memory", INVALID)]
    assert "not enough memory: CUDA out of memory" in report.results[1].reasons[0]
    assert report.results[2].test == "attention"


def test_what_cuda_merely_refuses_is_no_fault_of_the_card(card: Callable[..., Report]) -> None:
    """An error such as pinned memory beyond the user's limit does not break the GPU."""

    def refused() -> Iterator[Figure]:
        raise torch.AcceleratorError("CUDA error: out of memory")
        yield

    report = card({"pcie": refused, "memory": good})
    assert [result.verdict for result in report.results] == [INVALID, PASS]
    assert report.results[0].reasons == ("torch refused: CUDA error: out of memory",)


def test_a_dying_card_fails_and_nothing_more_is_asked_of_it(
    card: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead: list[str] = []

    def again(device: Device) -> None:
        if dead:
            raise torch.AcceleratorError(dead[0])

    def dies() -> Iterator[Figure]:
        dead.append("CUDA error: uncorrectable ECC error encountered")
        raise torch.AcceleratorError(dead[0])
        yield

    monkeypatch.setattr(device_tests, "release", again)

    report = card({"memory": dies, "gemm": good})
    assert [result.verdict for result in report.results] == [FAIL, SKIPPED]
    assert "uncorrectable ECC" in report.results[0].reasons[0]
    assert report.results[1].reasons[0].startswith("cuda:0 failed before, and CUDA must be restarted")
    assert exit_code(report) == 1


def test_what_fails_late_is_found_before_the_next_test(
    card: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel may fail after its figure was taken; the next call that waits for the GPU gets the error."""

    def late(device: Device) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(device_tests, "release", late)
    report = card({"memory": good, "gemm": good}, cards=2)
    assert [result.verdict for result in report.results] == [PASS, FAIL, SKIPPED, SKIPPED, SKIPPED]
    assert report.results[0].figure is not None  # what was finished stays
    assert report.results[1].reasons[0].startswith("cuda:0 failed: CUDA error: an illegal memory access")


def test_a_fault_of_our_own_costs_one_test_and_nothing_else(card: Callable[..., Report]) -> None:
    def mistaken() -> Iterator[Figure]:
        raise TypeError("_scaled_mm() got an unexpected keyword argument")
        yield

    report = card({"memory": good, "gemm": mistaken, "attention": good}, cards=2)
    assert [result.verdict for result in report.results] == [PASS, INVALID, PASS] * 2
    assert report.results[1].reasons == (
        "kernels_bench itself failed, TypeError: _scaled_mm() got an unexpected keyword argument",
    )


def test_a_card_that_cannot_be_used_at_all_stops_nobody_else(card: Callable[..., Report]) -> None:
    def opens(state: Any, device: Device) -> Bench:
        if device.target == "cuda:1":
            raise torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")
        return Bench(device, FakeClock(lambda sample: 1e6), QUICK, True, lambda text: None)

    report = card({"memory": good}, cards=3, opens=opens)
    assert [(result.device, result.verdict) for result in report.results] == [
        ("cuda:0", PASS),
        ("cuda:1", FAIL),
        ("cuda:2", PASS),
    ]
    assert "cannot be used: CUDA error: CUDA-capable device(s) is/are busy" in report.results[1].reasons[0]


def test_ctrl_c_ends_the_run_and_keeps_what_was_finished(card: Callable[..., Report]) -> None:
    def impatient() -> Iterator[Figure]:
        yield figure(5e14, "gemm", "bf16 square", "FLOP/s")
        raise KeyboardInterrupt

    report = card({"memory": good, "gemm": impatient, "launch": good}, cards=2)
    told = [(result.device, result.test, result.name, result.verdict) for result in report.results]
    assert told == [
        ("cuda:0", "memory", "copy", PASS),
        ("cuda:0", "gemm", "bf16 square", WARN),
        ("cuda:0", "gemm", "rest", SKIPPED),
    ]
    assert report.results[2].reasons == ("stopped by Ctrl-C",)
    assert exit_code(report) == 130


def test_what_torch_cannot_do_is_said(card: Callable[..., Report]) -> None:
    def refuses() -> Iterator[Figure]:
        raise RuntimeError("cublasLtMatmulAlgoGetHeuristic: not supported\nand much more")
        yield

    report = card({"gemm": refuses})
    assert report.results[0].reasons == ("torch refused: cublasLtMatmulAlgoGetHeuristic: not supported",)
    assert report.results[0].verdict == INVALID


def test_what_a_rank_said_is_the_reason(card: Callable[..., Report]) -> None:
    def hangs() -> Iterator[Figure]:
        raise RankGroupError("rank 1 on cuda:1 has not answered for 120 s: nccl hangs")
        yield

    report = card({"gemm": hangs, "memory": good})
    assert report.results[0].reasons == ("rank 1 on cuda:1 has not answered for 120 s: nccl hangs",)
    assert [result.verdict for result in report.results] == [INVALID, PASS]


def test_the_slow_card_of_three_is_named(card: Callable[..., Report], capsys: pytest.CaptureFixture[str]) -> None:
    values = iter([GOOD, 0.73e12, GOOD])
    report = card({"memory": lambda: iter([figure(next(values))])}, cards=3)
    assert has_values(report.results[1].reasons[0], "1", "-8.8%", "800")
    show(report)
    shown = capsys.readouterr().out
    assert "cuda:1 is the outlier" in shown
    assert "2 PASS, 1 WARN" in shown


def test_the_slow_pair_of_cards_is_named(card: Callable[..., Report]) -> None:
    def one_way(source: Bench, target: Bench) -> Iterator[Figure]:
        slow = (source.device.target, target.device.target) == ("cuda:2", "cuda:0")
        yield figure(20e9 if slow else 26e9, "p2p", "one way")

    report = card({"p2p": good}, cards=3, between=one_way, nvmlDeviceGetTopologyCommonAncestor=10)
    odd = [result for result in report.results if result.verdict != PASS]
    assert [result.device for result in odd] == ["cuda:2→cuda:0"]
    assert has_values(odd[0].reasons[0], "2", "0", "-23.1%", "26.0")
    assert "same switch, under the 25.0 GB/s of a good pair" in odd[0].reasons[1]


def test_two_card_tests_are_skipped_aloud_on_one_card(card: Callable[..., Report]) -> None:
    report = card({"p2p": good})
    assert report.results[0].reasons == ("one device only, and it takes two",)
    assert report.results[0].verdict == SKIPPED
