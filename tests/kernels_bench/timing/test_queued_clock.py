"""The latency of a link on a virtual clock: what the host takes to launch a call is not in it."""

from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from kernels_bench.timing import clocks
from kernels_bench.timing.clocks import CudaClock, QueuedCudaClock
from kernels_bench.timing.measure import QUICK, Work, measure
from tests.support.devices.fake_bench import L40S

EVENT_NS, LINK_NS, CYCLE_NS = 1_000, 1_900, 0.6


@dataclass
class Gpu:
    """A stream on a virtual clock, and a host that takes its time to launch something."""

    launch_ns: int
    host_ns: float = 0.0
    free_at_ns: float = 0.0

    def do(self, device_ns: float, host_ns: float) -> float:
        """Launch work; return when the device has done it."""
        self.host_ns += host_ns
        self.free_at_ns = max(self.free_at_ns, self.host_ns) + device_ns
        return self.free_at_ns

    def synchronize(self, *_: Any) -> None:
        self.host_ns = max(self.host_ns, self.free_at_ns)

    def transfer(self) -> None:
        self.do(LINK_NS, self.launch_ns)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gpu = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                self.passed_ns = 0.0

            def record(self) -> None:
                self.passed_ns = gpu.do(0, EVENT_NS)

            def query(self) -> bool:
                return self.passed_ns <= gpu.host_ns

            def elapsed_time(self, end: Any) -> float:
                return float(end.passed_ns - self.passed_ns) / 1e6

        cuda = SimpleNamespace(
            Event=Event,
            Stream=lambda device: gpu,
            device=lambda device: nullcontext(),
            stream=lambda stream: nullcontext(),
            synchronize=gpu.synchronize,
            _sleep=lambda cycles: gpu.do(cycles * CYCLE_NS, EVENT_NS),
        )
        monkeypatch.setattr(clocks, "torch", SimpleNamespace(cuda=cuda, device=lambda target: target))
        monkeypatch.setattr(CudaClock, "now_ns", lambda clock: int(gpu.host_ns))


@pytest.mark.parametrize("launch_us", [5, 40, 5_000])
def test_a_links_latency_is_recovered_whatever_python_takes(launch_us: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(launch_us * 1_000)
    gpu.install(monkeypatch)
    work = Work((gpu.transfer,), cold=False, graph=False)
    plain = measure(work, CudaClock(L40S, lambda: None), QUICK)
    assert plain.median_ns == pytest.approx(launch_us * 1_000 + LINK_NS, abs=EVENT_NS)  # that was Python
    queued = measure(work, QueuedCudaClock(L40S, lambda: None), QUICK)
    assert queued.median_ns == pytest.approx(LINK_NS)
    assert queued.iqr_ns == pytest.approx(0, abs=1)


def test_a_host_that_is_never_in_time_ends_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(5_000_000_000)
    gpu.install(monkeypatch)
    with pytest.raises(RuntimeError, match="more than a second"):
        QueuedCudaClock(L40S, lambda: None).time_ns((gpu.transfer,), 1, False)
