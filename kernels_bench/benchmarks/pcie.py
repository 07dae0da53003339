"""Transfers between the host's memory and the GPU: pinned and pageable, each way, and both ways at once."""

from typing import Any

import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.memory_bandwidth import MIB, same
from kernels_bench.devices.cpu import host_free_bytes
from kernels_bench.results import INVALID, Check, Detail, Skipped
from kernels_bench.timing.measure import Call, Work, rate

WANTED_BYTES = 256 * MIB
LEAST_BYTES = 16 * MIB  # in smaller transfers the start affects the rate
HOST_SHARE = 16  # at most this fraction of the free memory is pinned, because no other program can use it then


def run(bench: Bench) -> Findings:
    if not bench.device.is_cuda:
        yield Skipped("pcie", "host and device", "a CPU has no PCIe to its own memory")
        return
    size = min(WANTED_BYTES, host_free_bytes() // HOST_SHARE, bench.usable_bytes() // 4) // MIB * MIB
    if size < LEAST_BYTES:
        reason = f"{size // MIB} MiB may be taken and {LEAST_BYTES // MIB} are needed: free some memory"
        yield Skipped("pcie", "host and device", reason, verdict=INVALID)
        return
    detail: Detail = {"buffer_bytes": size}
    for kind in ("pinned", "pageable"):
        host, back = (_host_buffer(size, kind == "pinned") for _ in range(2))
        device = torch.empty(size, dtype=torch.uint8, device=bench.torch_device)

        for name, target, source in ((f"to card, {kind}", device, host), (f"to host, {kind}", back, device)):
            samples = bench.measure(name, Work((_copy(target, source),), 2 * size, graph=False))
            check = _arrived(bench, target, host)
            yield rate("pcie", name, "B/s", size, samples, check, detail)
        if kind == "pinned":
            other = torch.empty_like(device)
            both = BothWays(bench.torch_device, _copy(device, host), _copy(back, other))
            samples = bench.measure("both ways, pinned", Work((both,), 4 * size, graph=False))
            yield rate("pcie", "both ways, pinned", "B/s", 2 * size, samples, _arrived(bench, device, host), detail)


class BothWays:
    """Runs two transfers at once: one on the stream that is timed, one on a stream that it waits for."""

    def __init__(self, device: Any, forth: Call, back: Call, back_from: Any = None) -> None:
        self._device, self._forth, self._back = device, forth, back
        self._other = torch.cuda.Stream(back_from or device)

    def __call__(self) -> None:
        timed = torch.cuda.current_stream(self._device)
        self._other.wait_stream(timed)
        with torch.cuda.stream(self._other):
            self._back()
        with torch.cuda.stream(timed):
            self._forth()
        timed.wait_stream(self._other)


def _host_buffer(size: int, pinned: bool) -> Any:
    return torch.randint(256, (size,), dtype=torch.uint8, pin_memory=pinned)


def _copy(target: Any, source: Any) -> Call:
    def copy() -> object:
        return target.copy_(source, non_blocking=True)

    return copy


def _arrived(bench: Bench, received: Any, sent: Any) -> Check:
    torch.cuda.synchronize(bench.torch_device)
    return same(received.to(bench.torch_device), sent.to(bench.torch_device), "what was sent")
