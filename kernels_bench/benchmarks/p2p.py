"""Transfers from GPU to GPU for every ordered pair: one way, both ways, and the latency of a few bytes.

Bytes are counted once in each direction, as they cross the link. The latency is what one more transfer adds to a chain
of them, each of which waits for the one before. Chains of two lengths run behind a spinning kernel from a CUDA graph,
so that neither Python nor what begins and ends a chain is in their difference.
"""

from dataclasses import replace
from itertools import permutations
from typing import Any

import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.launch_latency import per_launch
from kernels_bench.benchmarks.memory_bandwidth import MIB, same
from kernels_bench.benchmarks.pcie import BothWays
from kernels_bench.results import INVALID, Check, Detail, Skipped
from kernels_bench.timing.clocks import ChainClock
from kernels_bench.timing.measure import Call, Work, latency, rate
from page_kit.plain_text import first_line

WANTED_BYTES = 256 * MIB
FEW_BYTES = 8
SHORT, LONG = 8, 24  # transfers in a chain; torch has 32 streams for each GPU, of which each transfer takes one


def pairs(benches: tuple[Bench, ...]) -> list[tuple[Bench, Bench]]:
    return list(permutations(benches, 2))


def run(source: Bench, target: Bench) -> Findings:
    size = min(WANTED_BYTES, source.usable_bytes() // 4, target.usable_bytes() // 4) // MIB * MIB
    if not size:
        yield Skipped("p2p", "one way", "no MiB is free on one of the two GPUs", verdict=INVALID)
        return
    detail: Detail = {
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

    if source.device.target < target.device.target:
        back = _Transfer(target.torch_device, source.torch_device, torch.empty_like(sent), torch.empty_like(received))
        both = BothWays(forth.source, forth, back, back.source)
        samples = source.measure("both ways", Work((both,), 4 * size, graph=False))
        _synchronize(source, target)
        check = same(received, sent.to(target.torch_device), "what was sent")
        yield rate("p2p", "both ways", "B/s", 2 * size, samples, check, detail)

    received[:FEW_BYTES].zero_()
    _synchronize(source, target)
    # Last, so that a refused graph comes after the other figures of the pair.
    yield from link_latency(source, _Chain(source.torch_device, target.torch_device, received, sent))


def link_latency(source: Bench, chain: "_Chain") -> Findings:
    """Time chains of transfers of a few bytes; the detail tells how they were launched."""
    clock = ChainClock(source.device, source.clock.frequency_mhz)
    calls, launched = _replayed(clock, chain)
    samples = replace(source, clock=clock).measure("latency", Work(calls, cold=False, graph=False))
    if not samples.median_ns:
        raise RuntimeError(f"{LONG} transfers in a row took no longer than {SHORT}")
    detail: Detail = {"bytes": FEW_BYTES, "transfers": LONG - SHORT, "launched": launched}
    yield latency("p2p", "latency", per_launch(samples, LONG - SHORT), detail, chain.check())


def _replayed(clock: ChainClock, chain: "_Chain") -> tuple[tuple[Call, Call], str]:
    """Return both chains as graphs, or as Python launches them where CUDA refuses such a graph, and words for which."""
    plain = chain.of(SHORT), chain.of(LONG)
    clock.time_ns(plain, 1, False)  # lets torch open the way between the GPUs, which no capture may do
    try:
        short, long = (clock.bundle((chain.fork, call, chain.join), 3) for call in plain)
        clock.time_ns((short, long), 1, False)
    except RuntimeError as error:
        # torch ends the capture with an error of its own, and the one that broke it is the context of that.
        reason = first_line(error.__context__ or error)
    else:
        return (short, long), "from a graph, behind a spinning kernel"
    return plain, f"one by one with torch's events, behind a spinning kernel, because a graph was refused: {reason}"


class _Transfer:
    """Copies between GPUs such that only the source's stream waits for it.

    torch makes a copy between GPUs also wait for, and block, the current stream of the other GPU, so that transfers in
    both directions would take turns. Therefore the other GPU's current stream is set to an unused one.
    """

    def __init__(self, source: Any, target: Any, received: Any, sent: Any) -> None:
        self.source = source
        self._received, self._sent = received, sent
        self.unused = torch.cuda.Stream(target)

    def __call__(self) -> object:
        with torch.cuda.stream(self.unused), torch.cuda.device(self.source):
            return self._received.copy_(self._sent, non_blocking=True)


class _Chain:
    """Copies the same few bytes again and again, each time behind the copy before.

    Every copy has an unused stream of the other GPU to itself. With one for all, each copy would also wait until the
    other GPU has heard of the copy before.
    """

    def __init__(self, source: Any, target: Any, received: Any, sent: Any) -> None:
        self._source, self._target = source, target
        self._received, self._sent = received[:FEW_BYTES], sent[:FEW_BYTES]
        self._transfers = [_Transfer(source, target, self._received, self._sent) for _ in range(LONG)]

    def of(self, length: int) -> Call:
        transfers = self._transfers[:length]

        def chain() -> None:
            for transfer in transfers:
                transfer()

        return chain

    def fork(self) -> None:
        """Take the unused streams into a capture, without which CUDA refuses the events that torch records on them."""
        for transfer in self._transfers:
            transfer.unused.wait_stream(torch.cuda.current_stream(self._source))

    def join(self) -> None:
        """Let the captured stream wait for the unused ones, without which CUDA refuses to end the capture."""
        for transfer in self._transfers:
            torch.cuda.current_stream(self._source).wait_stream(transfer.unused)

    def check(self) -> Check:
        return same(self._received, self._sent.to(self._target), "what was sent")


def _synchronize(*benches: Bench) -> None:
    for bench in benches:
        torch.cuda.synchronize(bench.torch_device)
