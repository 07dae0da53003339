"""The clocks of a CPU and of a GPU."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kernels_bench.results import Device
from kernels_bench.timing.measure import Call


class CpuClock:
    """Times calls by the wall clock, because torch's operators on a CPU have finished when they return."""

    short_ns = 20_000.0
    pauses = False
    now_ns = staticmethod(time.perf_counter_ns)

    def __init__(self, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self._flusher = torch.empty(0, dtype=torch.uint8)

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        times = []
        for index in range(count):
            call = calls[index % len(calls)]
            if flush:
                self._flush()
            started_ns = time.perf_counter_ns()
            call()
            times.append(float(time.perf_counter_ns() - started_ns))
        return times

    def bundle(self, calls: Sequence[Call], count: int) -> Call:
        turns, rest = divmod(count, len(calls))

        def together() -> None:
            for _ in range(turns):
                for call in calls:
                    call()
            for call in calls[:rest]:
                call()

        return together

    def frequency_mhz(self) -> int | None:
        return None

    def _flush(self) -> None:
        """Write twice the size of the last-level cache, which leaves nothing else in it."""
        if not len(self._flusher):
            self._flusher = torch.empty(2 * self.cache_bytes, dtype=torch.uint8)
        self._flusher.fill_(1)


class CudaClock:
    """Times calls by pairs of events on a stream of its own; changes no setting of the GPU."""

    short_ns = 100_000.0  # in shorter calls the events and the gap between launches affect the time
    # A GPU at its power limit runs a little faster after the pause of a flush. Triton's do_bench flushes this many
    # bytes before every call; doing the same makes figures comparable. The sustained run does not flush.
    pauses = True
    flush_bytes = 256 << 20
    now_ns = staticmethod(time.perf_counter_ns)

    def __init__(self, device: Device, frequency_mhz: Callable[[], int | None]) -> None:
        self.cache_bytes = device.cache_bytes
        self.frequency_mhz = frequency_mhz
        self._device = torch.device(device.target)
        self._stream = torch.cuda.Stream(self._device)
        self._flusher: Any = None

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
        torch.cuda.synchronize(self._device)  # the data was made on another stream
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            for index, (start, end) in enumerate(pairs):
                if flush:
                    self._flush()
                start.record()
                calls[index % len(calls)]()
                end.record()
            self._stream.synchronize()
        return [start.elapsed_time(end) * 1e6 for start, end in pairs]

    def bundle(self, calls: Sequence[Call], count: int) -> Call:
        """Capture a graph, whose replay launches all kernels without the host in between."""
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self._device),
            torch.cuda.stream(self._stream),  # which torch leaves as the current one when a capture fails
            torch.cuda.graph(graph, stream=self._stream),
        ):
            for index in range(count):
                calls[index % len(calls)]()
        replay: Call = graph.replay
        return replay

    def _flush(self) -> None:
        if self._flusher is None:
            size = max(2 * self.cache_bytes, self.flush_bytes)
            self._flusher = torch.empty(size, dtype=torch.uint8, device=self._device)
        self._flusher.zero_()


class QueuedCudaClock(CudaClock):
    """Times calls that all wait behind a spinning kernel, so that the host takes no part in what a short call takes.

    On an idle stream the first event passes as soon as the host has recorded it, and the time would be what Python
    takes to launch the call. Here a sample counts only if the kernel was still spinning when everything was launched.
    """

    first_cycles, most_cycles = 500_000, 1 << 31  # a third of a millisecond, more than a second

    def __init__(self, device: Device, frequency_mhz: Callable[[], int | None]) -> None:
        super().__init__(device, frequency_mhz)
        self._cycles = self.first_cycles

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        times: list[float] = []
        torch.cuda.synchronize(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            while len(times) < count:
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda._sleep(self._cycles)
                start.record()
                calls[len(times) % len(calls)]()
                end.record()
                in_time = not start.query()
                self._stream.synchronize()
                if in_time:
                    times.append(start.elapsed_time(end) * 1e6)
                elif self._cycles < self.most_cycles:
                    self._cycles *= 2
                else:
                    raise RuntimeError("launching a call from Python takes more than a second here")
        return times


class ChainClock(QueuedCudaClock):
    """Times a short and a long chain of calls in turn; a sample is by how much the long one takes longer.

    What the events and the launch of a graph take is in both, and cancels.
    """

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        short, long = calls
        times = super().time_ns((short, long), 2 * count, flush)
        # Zero where something held up the short chain: no time is negative, and a median does not mind how far below.
        return [max(0.0, longer - shorter) for shorter, longer in zip(times[::2], times[1::2], strict=True)]
