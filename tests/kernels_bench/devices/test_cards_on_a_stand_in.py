"""Code that runs on GPUs only, run once on a stand-in: torch's CPU behind the names of torch.cuda.

It proves that the code runs through, counts its bytes and checks what arrives. It proves no speed and no overlap:
tests/gpu does, on a GPU.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kernels_bench.benchmarks import allreduce, launch_latency, matmul, p2p, pcie, sustained_matmul
from kernels_bench.benchmarks.context import Bench
from kernels_bench.judge.verdicts import judge
from kernels_bench.results import FAIL, Device, Figure, Skipped
from kernels_bench.timing.clocks import CudaClock
from kernels_bench.timing.measure import QUICK, Work, measure
from tests.support.devices.fake_bench import FakeClock

MIB = 1 << 20
CPU = torch.device("cpu")


@dataclass(frozen=True)
class StandIn(Bench):
    @property
    def torch_device(self) -> Any:
        return CPU

    def usable_bytes(self) -> int:
        return 64 * MIB


class Stream:
    def __init__(self, *arguments: Any) -> None:
        pass

    def wait_stream(self, other: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


class Event:
    now_ms = 0.0

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing
        self.at_ms = -1.0

    def record(self) -> None:
        Event.now_ms += 0.5
        self.at_ms = Event.now_ms

    def elapsed_time(self, end: Event) -> float:
        return end.at_ms - self.at_ms


class Graph:
    """Records nothing: capturing runs the calls once."""

    replays = 0

    def replay(self) -> None:
        Graph.replays += 1


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def within(*arguments: Any, **more: Any) -> Any:
        yield

    cuda = SimpleNamespace(
        Stream=Stream,
        Event=Event,
        CUDAGraph=Graph,
        graph=within,
        stream=within,
        device=lambda place: nullcontext(),
        current_stream=lambda place: Stream(),
        synchronize=lambda place: None,
        can_device_access_peer=lambda one, other: True,
        nccl=SimpleNamespace(version=lambda: (2, 27, 3)),
    )
    monkeypatch.setattr(
        p2p, "ChainClock", lambda device, frequency: FakeClock(lambda sample: 32_000 / 3)
    )  # a call of a bundle
    for module in (pcie, p2p, launch_latency):
        monkeypatch.setattr(module.torch, "cuda", cuda)


def bench(index: int = 0, cost_ns: float = 1e8) -> StandIn:
    card = Device(f"cuda:{index}", "NVIDIA H200", f"GPU-{index}", 1 << 30, MIB, 132, "9.0")
    return StandIn(card, FakeClock(lambda sample: cost_ns), QUICK, True, lambda text: None)


def figures(findings: Any) -> dict[str, Figure]:
    return {finding.name: finding for finding in findings if isinstance(finding, Figure)}


def test_the_events_clock_times_each_sample_and_flushes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = CudaClock(Device("cpu", "x", "x", 1, 1000, 1), lambda: 1980)
    ran: list[int] = []
    assert clock.time_ns((lambda: ran.append(0), lambda: ran.append(1)), 3, True) == [0.5e6] * 3
    assert ran == [0, 1, 0]
    assert clock.frequency_mhz() == 1980
    clock.bundle((lambda: ran.append(2),), 4)()
    assert ran[3:] == [2] * 4
    assert Graph.replays == 1


@pytest.mark.lengthy
def test_a_measurement_through_the_events_clock() -> None:
    clock = CudaClock(Device("cpu", "x", "x", 1, 1000, 1), lambda: 1980)
    found = measure(Work((lambda: None,), 1 << 20), clock, QUICK)
    assert (found.stable, found.median_ns, found.calls_per_sample) == (True, 0.5e6, 1)


@pytest.mark.lengthy
def test_host_to_card_counts_one_way_and_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcie, "_host_buffer", lambda size, pinned: torch.randint(256, (size,), dtype=torch.uint8))
    found = figures(pcie.run(bench()))
    assert list(found) == [
        "to card, pinned",
        "to host, pinned",
        "both ways, pinned",
        "to card, pageable",
        "to host, pageable",
    ]
    assert found["to card, pinned"].work == 16 * MIB
    assert found["both ways, pinned"].work == 2 * 16 * MIB
    assert all(figure.check and figure.check.passed for figure in found.values())


@pytest.mark.lengthy
def test_what_does_not_arrive_is_a_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcie, "_host_buffer", lambda size, pinned: torch.randint(256, (size,), dtype=torch.uint8))
    monkeypatch.setattr(pcie, "_copy", lambda into, source: lambda: into.copy_(source).add_(1))
    figure = next(iter(figures(pcie.run(bench())).values()))
    assert judge(figure, "NVIDIA H200", (), None, None, 0.05)[0] == FAIL


@pytest.mark.lengthy
def test_cards_among_each_other() -> None:
    one, other = bench(0), bench(1)
    assert [(a.device.target, b.device.target) for a, b in p2p.pairs((one, other))] == [
        ("cuda:0", "cuda:1"),
        ("cuda:1", "cuda:0"),
    ]
    there = figures(p2p.run(one, other))
    assert list(there) == ["one way", "both ways", "latency"]
    assert (there["one way"].work, there["both ways"].work) == (16 * MIB, 32 * MIB)
    assert (there["latency"].value, there["latency"].detail["transfers"]) == (2_000, 16)
    assert str(there["latency"].detail["launched"]).startswith("from a graph")
    assert all(figure.check and figure.check.passed for figure in there.values())
    assert list(figures(p2p.run(other, one))) == ["one way", "latency"]  # both ways once per pair


class FakeRankGroup(FakeClock):
    """Ranks that exist only as numbers."""

    wrong = 0

    def __init__(self, devices: list[Device], backend: str) -> None:
        super().__init__(lambda sample: 1e8)
        self.backend = backend

    def __enter__(self) -> FakeRankGroup:
        return self

    def __exit__(self, *error: object) -> None: ...

    def prepare(self, values: int) -> None: ...

    def time_ns(self, calls: Any, count: int, flush: bool) -> list[float]:
        return super().time_ns((lambda: None,), count, flush)

    def wrong_values(self) -> int:
        return self.wrong


def test_all_cards_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allreduce, "RankGroup", FakeRankGroup)
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda backend: backend == "nccl")
    monkeypatch.setattr(allreduce, "QUICK_TOKENS", (16, 64, 1 << 20))
    findings = list(allreduce.run((bench(0), bench(1), bench(2), bench(3))))
    found = figures(findings)
    assert list(found) == ["16 tokens × 8192", "64 tokens × 8192"]
    size = 16 * 8192 * 2
    assert found["16 tokens × 8192"].work == 2 * 3 * size // 4  # the bus bandwidth of four
    assert all(figure.check and figure.check.passed for figure in found.values())
    assert {figure.detail["implementation"] for figure in found.values()} == {
        "NCCL 2.27.3, its own choice of algorithm"
    }
    assert isinstance(findings[-1], Skipped)
    assert "not free on every GPU" in findings[-1].reason


def test_a_wrong_sum_is_a_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allreduce, "RankGroup", FakeRankGroup)
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda backend: True)
    monkeypatch.setattr(FakeRankGroup, "wrong", 3)
    figure = next(iter(figures(allreduce.run((bench(0), bench(1)))).values()))
    assert judge(figure, "", (), None, None, 0.05)[0] == FAIL


def test_a_torch_without_nccl_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda backend: False)
    (skipped,) = allreduce.run((bench(0), bench(1)))
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "this torch has no nccl"


@pytest.mark.lengthy
def test_launches_are_told_one_by_one() -> None:
    found = figures(launch_latency.run(bench()))
    assert list(found) == ["launch to finish", "graph replay to finish", "back to back", "in a graph"]
    assert found["back to back"].value == 1e8 / launch_latency.LAUNCHES  # the fake gives each call 0.1 s
    assert found["in a graph"].value == 1e8  # and each call in a bundle


@pytest.mark.lengthy
def test_a_hopper_card_is_asked_for_every_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "SQUARE", 128)
    found = figures(matmul.squares(bench()))
    assert list(found) == [f"{name} square" for name in ("bf16", "fp32", "tf32", "fp16", "fp8", "fp8 fast", "int8")]
    assert all(figure.check and figure.check.passed for figure in found.values())
    assert found["int8 square"].unit == "OP/s"


def test_the_best_of_many_shapes_is_measured_again_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "QUICK_SEARCH_SIDES", (64, 128))
    (figure,) = matmul.search(bench())
    assert isinstance(figure, Figure)
    assert figure.detail == {"m": 128, "n": 128, "k": 128, "shapes_tried": 8, "shapes": 8}  # equal times: most work
    assert [trial.at["m"] for trial in figure.trials] == [64] * 4 + [128] * 4
    assert max(trial.value for trial in figure.trials) == pytest.approx(figure.value)


def test_a_slow_card_searches_as_far_as_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "QUICK_SEARCH_SIDES", (64, 128))
    monkeypatch.setattr(matmul, "QUICK_SEARCH_S", 3.0)
    (figure,) = matmul.search(bench())
    assert isinstance(figure, Figure)
    assert 0 < int(figure.detail["shapes_tried"]) < 8
    assert figure.detail["shapes"] == 8


def test_decoding_takes_turns_over_weights_that_no_cache_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "DECODE_N", 512)
    monkeypatch.setattr(matmul, "DECODE_K", 256)
    found = figures(matmul.decode(bench()))
    assert list(found) == ["bf16 decode M=1", "bf16 decode M=16", "bf16 decode M=256"]
    assert found["bf16 decode M=1"].work == 2 * (256 + 512 * 256 + 512)


def test_the_sustained_run_keeps_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sustained_matmul, "SQUARE", 128)
    (figure,) = sustained_matmul.run(bench())
    assert isinstance(figure, Figure)
    assert figure.name == "bf16 5 s"
    assert [len(times) for times in figure.samples.rounds_ns] == [5] * 10
    assert figure.detail["first_round_over_last"] == 1.0
