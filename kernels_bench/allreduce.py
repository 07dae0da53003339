"""NCCL's all-reduce over all cards of the run, at the sizes of tensor-parallel layers.

One process drives all cards (torch.cuda.nccl); engines use one process per card, with the same library and links.
The rate is NCCL's bus bandwidth: 2·(n-1)/n of the buffer crosses each card's link.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels_bench.bench import Bench, Findings
from kernels_bench.memory import MIB, same
from kernels_bench.results import INVALID, Skipped
from kernels_bench.timing import Work, rate

HIDDEN, BF16_BYTES = 8192, 2  # a 70B Llama
TOKENS = (1, 16, 256, 8192)  # decode of that many requests; one prefill chunk
QUICK_TOKENS = (16, 8192)


def run(benches: tuple[Bench, ...]) -> Findings:
    from torch.cuda import nccl

    cards = len(benches)
    first = benches[0]
    if not nccl.is_available([torch.empty(1, device=bench.place) for bench in benches]):
        yield Skipped("allreduce", "all-reduce", "this torch has no NCCL")
        return
    for tokens in QUICK_TOKENS if first.quick else TOKENS:
        name = f"{tokens} tokens × {HIDDEN}"
        size = tokens * HIDDEN * BF16_BYTES
        if size * 3 > min(bench.usable_bytes() for bench in benches):
            yield Skipped("allreduce", name, f"{size * 3 // MIB} MiB are not free on every card", verdict=INVALID)
            continue
        sent = [_ones(bench, tokens, rank) for rank, bench in enumerate(benches)]
        got = [torch.empty_like(part) for part in sent]
        streams = [torch.cuda.Stream(bench.place) for bench in benches]

        samples = first.measure(name, Work((_Reduce(benches, sent, got, streams),), cold=False, graph=False))
        for bench in benches:
            torch.cuda.synchronize(bench.place)
        total = cards * (cards + 1) // 2  # 1 + 2 + … : small whole numbers, exact in BF16
        check = same(got[-1], torch.full_like(got[-1], total), "the sum")
        moved = 2 * (cards - 1) * size // cards
        yield rate("allreduce", name, "B/s", moved, samples, check, {"cards": cards, "buffer_bytes": size})


class _Reduce:
    """One all-reduce that begins and ends on the first card's timed stream."""

    def __init__(self, benches: tuple[Bench, ...], sent: Any, got: Any, streams: Any) -> None:
        self._place = benches[0].place
        self._sent, self._got, self._streams = sent, got, streams

    def __call__(self) -> None:
        from torch.cuda import nccl

        timed = torch.cuda.current_stream(self._place)
        for stream in self._streams:
            stream.wait_stream(timed)
        nccl.all_reduce(self._sent, self._got, streams=self._streams)
        for stream in self._streams:
            timed.wait_stream(stream)


def _ones(bench: Bench, tokens: int, rank: int) -> Any:
    return torch.full((tokens, HIDDEN), float(rank + 1), dtype=torch.bfloat16, device=bench.place)
