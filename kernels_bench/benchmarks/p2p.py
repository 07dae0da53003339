"""From card to card, every ordered pair: one way, both ways, and the time of a transfer of a few bytes.

Bytes are counted once per way, as they cross the link.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.memory_bandwidth import MIB, same
from kernels_bench.results import INVALID, Skipped
from kernels_bench.timing.measure import Call, Work, latency, rate

WANTED_BYTES = 256 * MIB
FEW_BYTES = 8


def pairs(benches: tuple[Bench, ...]) -> list[tuple[Bench, Bench]]:
    return list(permutations(benches, 2))


def run(source: Bench, target: Bench) -> Findings:
    size = min(WANTED_BYTES, source.usable_bytes() // 4, target.usable_bytes() // 4) // MIB * MIB
    if not size:
        yield Skipped("p2p", "one way", "no MiB is free on one of the two cards", verdict=INVALID)
        return
    detail: dict[str, str | int | float] = {
        "buffer_bytes": size,
        "direct": int(torch.cuda.can_device_access_peer(source.place, target.place)),
    }
    sent = torch.randint(256, (size,), dtype=torch.uint8, device=source.place)
    got = torch.empty(size, dtype=torch.uint8, device=target.place)
    here = _Lane(source.place, target.place, got, sent)

    samples = source.measure("one way", Work((here,), 2 * size, graph=False))
    _finish(source, target)
    yield rate("p2p", "one way", "B/s", size, samples, same(got, sent.to(target.place), "what was sent"), detail)

    few = _Lane(source.place, target.place, got[:FEW_BYTES], sent[:FEW_BYTES])
    samples = source.measure("latency", Work((few,), cold=False, graph=False))
    yield latency("p2p", "latency", samples, {"bytes": FEW_BYTES})

    if source.device.target < target.device.target:
        back = _Lane(target.place, source.place, torch.empty_like(sent), torch.empty_like(got))
        samples = source.measure("both ways", Work((_together(here, back),), 4 * size, graph=False))
        _finish(source, target)
        check = same(got, sent.to(target.place), "what was sent")
        yield rate("p2p", "both ways", "B/s", 2 * size, samples, check, detail)


class _Lane:
    """A transfer that only its own source's stream waits for.

    torch lets a copy between cards also wait for, and hold up, the current stream of the other card. Two ways at
    once would so take turns: the other card's current stream is made one that nobody uses.
    """

    def __init__(self, source: Any, target: Any, into: Any, sent: Any) -> None:
        self.source = source
        self._into, self._sent = into, sent
        self._unused = torch.cuda.Stream(target)

    def __call__(self) -> object:
        with torch.cuda.stream(self._unused), torch.cuda.device(self.source):
            return self._into.copy_(self._sent, non_blocking=True)


def _together(here: _Lane, back: _Lane) -> Call:
    other = torch.cuda.Stream(back.source)

    def both() -> None:
        timed = torch.cuda.current_stream(here.source)
        other.wait_stream(timed)
        with torch.cuda.stream(other):
            back()
        with torch.cuda.stream(timed):
            here()
        timed.wait_stream(other)

    return both


def _finish(*benches: Bench) -> None:
    for bench in benches:
        torch.cuda.synchronize(bench.place)
