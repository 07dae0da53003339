"""The process of one rank, which carries out the orders of its parent together with the other ranks."""

import signal
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch

from kernels_bench.results import Device
from kernels_bench.timing.clocks import CpuClock, CudaClock
from kernels_bench.timing.measure import Call
from page_kit.plain_text import first_line

EXACT = 255  # sums up to this value are exact in BF16, as are their partial sums
TIMEOUT = timedelta(seconds=110)  # less than the parent's, so that the library reports its own error first


@dataclass(frozen=True)
class Order:
    what: Literal["prepare", "bundle", "time", "check"]
    size: int = 0  # prepare: values; bundle and time: collectives in one sample
    count: int = 0  # samples


class Refreshing:
    """Makes a clock restore the buffer before each sample, untimed, instead of flushing the cache."""

    refresh: Call

    def _flush(self) -> None:
        self.refresh()


class RefreshingCudaClock(Refreshing, CudaClock): ...


class RefreshingCpuClock(Refreshing, CpuClock): ...


class Rank:
    """Holds a buffer on one device and runs collectives over it."""

    def __init__(self, rank: int, ranks: int, device: Device, torch_device: Any) -> None:
        self._rank, self._ranks, self._torch_device = rank, ranks, torch_device
        self._clock = (
            RefreshingCudaClock(device, lambda: None) if device.is_cuda else RefreshingCpuClock(device.cache_bytes)
        )
        self._clock.refresh = self.refresh
        self._bundles: dict[int, Call] = {}
        self._original = self._buffer = torch.empty(0, device=torch_device)

    def carry_out(self, order: Order) -> Any:
        if order.what == "prepare":
            return self.prepare(order.size)
        if order.what == "bundle":
            self._bundles = {order.size: self._clock.bundle((self.reduce,), order.size)}
            return None
        if order.what == "time":
            return self.time_ns(order.size, order.count)
        return self.check()

    def prepare(self, values: int) -> None:
        self._bundles = {}  # a graph uses the buffer that it was captured with
        self._original = torch.randn(values, dtype=torch.bfloat16, device=self._torch_device)
        self._buffer = self._original.clone()

    def reduce(self) -> Any:
        return torch.distributed.all_reduce(self._buffer)

    def refresh(self) -> Any:
        """Restore the buffer, because repeated sums would become infinite.

        Within a graph the sums still grow; only small buffers are bundled, whose time the link does not limit.
        """
        return self._buffer.copy_(self._original)

    def time_ns(self, size: int, count: int) -> list[float]:
        """Time `count` samples, after one collective that makes all ranks start together."""
        self.reduce()
        return self._clock.time_ns((self.reduce if size == 1 else self._bundles[size],), count, True)

    def leave(self) -> None:
        """Leave the process group; graphs go first, because NCCL waits for ever for those with its collectives."""
        self._bundles = {}
        torch.distributed.destroy_process_group()

    def check(self) -> int:
        """Add up whole numbers that differ by position and rank; return how many sums are wrong."""
        values = EXACT // self._ranks + 1
        positions = torch.arange(self._buffer.numel(), device=self._torch_device)
        parts = [(positions * 7 + rank * 5) % values for rank in range(self._ranks)]
        self._buffer.copy_(parts[self._rank])
        self.reduce()
        return int((self._buffer != sum(parts)).sum())


def serve(pipe: Connection, rank: int, ranks: int, device: Device, backend: str, store_path: str) -> None:
    """Run one rank until the parent closes the pipe; send errors back as text."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    torch_device = torch.device(device.target)
    try:
        if device.is_cuda:
            torch.cuda.set_device(torch_device)
        store = torch.distributed.FileStore(store_path, ranks)
        bound = {"device_id": torch_device} if device.is_cuda else {}
        torch.distributed.init_process_group(
            backend, store=store, rank=rank, world_size=ranks, timeout=TIMEOUT, **bound
        )
        torch.distributed.barrier()
        this_rank = Rank(rank, ranks, device, torch_device)
        pipe.send((True, None))
        take_orders(pipe, this_rank)
    except (EOFError, ConnectionError):
        return  # the parent has closed the pipe, or has ended
    except Exception as error:
        pipe.send((False, f"{type(error).__name__}: {first_line(error)}"))


def take_orders(pipe: Connection, rank: Rank) -> None:
    """Carry out orders until the parent closes the pipe."""
    while True:
        try:
            order = pipe.recv()
        except (EOFError, ConnectionError):
            rank.leave()
            return
        pipe.send((True, rank.carry_out(order)))
