"""Transfers from GPU to GPU for every ordered pair: one way, both ways, and the latency of a few bytes.

Bytes are counted once in each direction, as they cross the link.
"""

from dataclasses import replace
from itertools import permutations
from typing import Any

import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.memory_bandwidth import MIB, same
from kernels_bench.benchmarks.pcie import BothWays
from kernels_bench.results import INVALID, Skipped
from kernels_bench.timing.clocks import QueuedCudaClock
from kernels_bench.timing.measure import Call, Work, latency, rate

WANTED_BYTES = 256 * MIB
FEW_BYTES = 8


def pairs(benches: tuple[Bench, ...]) -> list[tuple[Bench, Bench]]:
    return list(permutations(benches, 2))


def run(source: Bench, target: Bench) -> Findings:
    size = min(WANTED_BYTES, source.usable_bytes() // 4, target.usable_bytes() // 4) // MIB * MIB
    if not size:
        yield Skipped("p2p", "one way", "no MiB is free on one of the two GPUs", verdict=INVALID)
        return
    detail: dict[str, str | int | float] = {
        "buffer_bytes": size,
        "direct": int(torch.cuda.can_device_access_peer(source.torch_device, target.torch_device)),
    }
    sent = torch.randint(256, (size,), dtype=torch.uint8, device=source.torch_device)
    received = torch.empty(size, dtype=torch.uint8, device=target.torch_device)
    forth = _Transfer(source.torch_device, target.torch_device, received, sent)

    samples = source.measure("one way", Work((forth,), 2 * size, graph=False))
    _synchronize(source, target)
    yield rate(
        "p2p", "one way", "B/s", size, samples, same(received, sent.to(target.torch_device), "what was sent"), detail
    )

    few = _Transfer(source.torch_device, target.torch_device, received[:FEW_BYTES], sent[:FEW_BYTES])
    yield from link_latency(source, few)

    if source.device.target < target.device.target:
        back = _Transfer(target.torch_device, source.torch_device, torch.empty_like(sent), torch.empty_like(received))
        both = BothWays(forth.source, forth, back, back.source)
        samples = source.measure("both ways", Work((both,), 4 * size, graph=False))
        _synchronize(source, target)
        check = same(received, sent.to(target.torch_device), "what was sent")
        yield rate("p2p", "both ways", "B/s", 2 * size, samples, check, detail)


def link_latency(source: Bench, few: Call) -> Findings:
    """Time a transfer of a few bytes behind a spinning kernel; the detail tells what two events alone take."""
    queued = replace(source, clock=QueuedCudaClock(source.device, source.clock.frequency_mhz))
    alone = queued.measure("latency of two events", Work((_nothing,), cold=False, graph=False))
    samples = queued.measure("latency", Work((few,), cold=False, graph=False))
    yield latency("p2p", "latency", samples, {"bytes": FEW_BYTES, "events_alone_ns": alone.median_ns})


def _nothing() -> None:
    pass


class _Transfer:
    """Copies between GPUs such that only the source's stream waits for it.

    torch makes a copy between GPUs also wait for, and block, the current stream of the other GPU, so that transfers in
    both directions would take turns. Therefore the other GPU's current stream is set to an unused one.
    """

    def __init__(self, source: Any, target: Any, received: Any, sent: Any) -> None:
        self.source = source
        self._received, self._sent = received, sent
        self._unused = torch.cuda.Stream(target)

    def __call__(self) -> object:
        with torch.cuda.stream(self._unused), torch.cuda.device(self.source):
            return self._received.copy_(self._sent, non_blocking=True)


def _synchronize(*benches: Bench) -> None:
    for bench in benches:
        torch.cuda.synchronize(bench.torch_device)
