"""One rank of a crew: waits for orders, does them with all the others, says how long each took here."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch

from kernels_bench.results import Device
from kernels_bench.timing.clocks import CpuClock, CudaClock
from kernels_bench.timing.measure import Call

EXACT = 255  # sums up to here are exact in BF16, and so are those on the way to them
PATIENCE = timedelta(seconds=110)  # less than the parent's, so that the library's own words come first


@dataclass(frozen=True)
class Order:
    what: Literal["prepare", "bundle", "time", "check"]
    size: int = 0  # prepare: values; bundle and time: collectives in one sample
    count: int = 0  # samples


class FreshOnCuda(CudaClock):
    """Where others flush the cache, the numbers are made fresh: before each sample, outside of what is timed."""

    refresh: Call

    def _flush(self) -> None:
        self.refresh()


class FreshOnCpu(CpuClock):
    refresh: Call

    def _flush(self) -> None:
        self.refresh()


class Rank:
    """A buffer on one device, and the collective over it."""

    def __init__(self, rank: int, ranks: int, device: Device, place: Any) -> None:
        self._rank, self._ranks, self._place = rank, ranks, place
        self._clock = FreshOnCuda(device, lambda: None) if device.is_cuda else FreshOnCpu(device.cache_bytes)
        self._clock.refresh = self.refresh
        self._bundles: dict[int, Call] = {}
        self._fresh = self._buffer = torch.empty(0, device=place)

    def obey(self, order: Order) -> Any:
        if order.what == "prepare":
            return self.prepare(order.size)
        if order.what == "bundle":
            self._bundles = {order.size: self._clock.bundle((self.reduce,), order.size)}
            return None
        if order.what == "time":
            return self.time_ns(order.size, order.count)
        return self.check()

    def prepare(self, values: int) -> None:
        self._bundles = {}  # a graph keeps the buffer it was captured with
        self._fresh = torch.randn(values, dtype=torch.bfloat16, device=self._place)
        self._buffer = self._fresh.clone()

    def reduce(self) -> Any:
        return torch.distributed.all_reduce(self._buffer)

    def refresh(self) -> Any:
        """Sums of sums would soon be infinite. Within one graph they still grow; what is bundled there is too small
        for the link to be its limit."""
        return self._buffer.copy_(self._fresh)

    def time_ns(self, size: int, count: int) -> list[float]:
        """Each collective ends on all ranks at once, so how far apart they began shows in the first sample alone."""
        self.reduce()
        return self._clock.time_ns((self.reduce if size == 1 else self._bundles[size],), count, True)

    def leave(self) -> None:
        """NCCL waits for ever for graphs that hold its collectives, so they go first."""
        self._bundles = {}
        torch.distributed.destroy_process_group()

    def check(self) -> int:
        """Whole numbers that differ by place and rank, added up; how many of the sums are wrong."""
        steps = EXACT // self._ranks + 1
        where = torch.arange(self._buffer.numel(), device=self._place)
        parts = [(where * 7 + rank * 5) % steps for rank in range(self._ranks)]
        self._buffer.copy_(parts[self._rank])
        self.reduce()
        return int((self._buffer != sum(parts)).sum())


def serve(pipe: Connection, rank: int, ranks: int, device: Device, backend: str, meeting: str) -> None:
    """The process of one rank; the parent ends it. What goes wrong goes back in words."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    place = torch.device(device.target)
    try:
        if device.is_cuda:
            torch.cuda.set_device(place)
        store = torch.distributed.FileStore(meeting, ranks)
        bound = {"device_id": place} if device.is_cuda else {}
        torch.distributed.init_process_group(
            backend, store=store, rank=rank, world_size=ranks, timeout=PATIENCE, **bound
        )
        torch.distributed.barrier()
        one = Rank(rank, ranks, device, place)
        pipe.send((True, None))
        take_orders(pipe, one)
    except (EOFError, ConnectionError):
        return  # the parent is done, or gone
    except Exception as error:
        pipe.send((False, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"))


def take_orders(pipe: Connection, one: Rank) -> None:
    """Until the parent closes the pipe."""
    while True:
        try:
            order = pipe.recv()
        except (EOFError, ConnectionError):
            one.leave()
            return
        pipe.send((True, one.obey(order)))
