"""Between the host's memory and the card: pinned and pageable, each way, and both ways at once."""

from __future__ import annotations

from typing import Any

import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.memory_bandwidth import MIB, same
from kernels_bench.devices.cpu import host_free_bytes
from kernels_bench.results import INVALID, Check, Skipped
from kernels_bench.timing.measure import Call, Work, rate

WANTED_BYTES = 256 * MIB
LEAST_BYTES = 16 * MIB  # below that the start of a transfer shows in its rate
HOST_SHARE = 16  # pinned memory is taken from everybody: at most one part in so many of what is free


def run(bench: Bench) -> Findings:
    if not bench.device.is_cuda:
        yield Skipped("pcie", "host and device", "a processor has no PCIe to its own memory")
        return
    size = min(WANTED_BYTES, host_free_bytes() // HOST_SHARE, bench.usable_bytes() // 4) // MIB * MIB
    if size < LEAST_BYTES:
        reason = f"{size // MIB} MiB may be taken and {LEAST_BYTES // MIB} are needed: free some memory"
        yield Skipped("pcie", "host and device", reason, verdict=INVALID)
        return
    detail: dict[str, str | int | float] = {"buffer_bytes": size}
    for kind in ("pinned", "pageable"):
        host, back = (_host_buffer(size, kind == "pinned") for _ in range(2))
        card = torch.empty(size, dtype=torch.uint8, device=bench.place)

        for name, into, source in ((f"to card, {kind}", card, host), (f"to host, {kind}", back, card)):
            samples = bench.measure(name, Work((_copy(into, source),), 2 * size, graph=False))
            check = _arrived(bench, into, host)
            yield rate("pcie", name, "B/s", size, samples, check, detail)
        if kind == "pinned":
            other = torch.empty_like(card)
            both = BothWays(bench.place, _copy(card, host), _copy(back, other))
            samples = bench.measure("both ways, pinned", Work((both,), 4 * size, graph=False))
            yield rate("pcie", "both ways, pinned", "B/s", 2 * size, samples, _arrived(bench, card, host), detail)


class BothWays:
    """Two transfers at once: one on the stream that is timed, one on a stream that it waits for."""

    def __init__(self, place: Any, here: Call, there: Call) -> None:
        self._place, self._here, self._there = place, here, there
        self._other = torch.cuda.Stream(place)

    def __call__(self) -> None:
        timed = torch.cuda.current_stream(self._place)
        self._other.wait_stream(timed)
        with torch.cuda.stream(self._other):
            self._there()
        self._here()
        timed.wait_stream(self._other)


def _host_buffer(size: int, pinned: bool) -> Any:
    return torch.randint(256, (size,), dtype=torch.uint8, pin_memory=pinned)


def _copy(into: Any, source: Any) -> Call:
    def copy() -> object:
        return into.copy_(source, non_blocking=True)

    return copy


def _arrived(bench: Bench, got: Any, wanted: Any) -> Check:
    torch.cuda.synchronize(bench.place)
    return same(got.to(bench.place), wanted.to(bench.place), "what was sent")
