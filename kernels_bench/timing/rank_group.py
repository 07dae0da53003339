"""A group of ranks, one process per device as in a tensor-parallel engine, and a clock that times their collectives.

The timing loop runs in the parent, as for every test. It sends each order to all ranks through pipes, so that they
always run the same number of collectives. The time of a sample is that of the slowest rank, because the next layer
waits for it.
"""

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from kernels_bench.results import Device
from kernels_bench.timing.measure import Call
from kernels_bench.timing.rank_process import Order, serve

LEAVE_S = 10.0  # for all ranks to end by themselves
ANSWER_S = 120.0  # setting up the first collective of many GPUs takes tens of seconds; a round takes one


class RankGroupError(RuntimeError):
    """Raised with the error of a rank, or how its process ended."""


@dataclass(frozen=True)
class Collective:
    """Stands in the parent for `count` all-reduces that the ranks run."""

    count: int

    def __call__(self) -> None:
        raise AssertionError("the ranks run it, never the parent")


class RankGroup:
    """Runs ranks in a `with` block; it is a `Clock` for `measure`, with `Collective`s as calls."""

    now_ns = staticmethod(time.perf_counter_ns)

    def __init__(self, devices: Sequence[Device], backend: str, answer_s: float = ANSWER_S) -> None:
        self.cache_bytes, self.pauses = devices[0].cache_bytes, False
        self.short_ns = 100_000.0 if devices[0].is_cuda else 20_000.0
        self._devices, self._backend, self._answer_s = tuple(devices), backend, answer_s
        self._leave_s = LEAVE_S
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._folder = TemporaryDirectory(prefix="kernels_bench_")

    def __enter__(self) -> Self:
        spawn = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        try:
            for rank, device in enumerate(self._devices):
                ours, theirs = spawn.Pipe()
                store = str(Path(self._folder.name) / "store")
                process = spawn.Process(
                    target=serve,
                    args=(theirs, rank, len(self._devices), device, self._backend, store),
                    name=f"kernels_bench rank {rank}",
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._processes.append(process)
                self._pipes.append(ours)
            self._answers()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close(0.0 if error else self._leave_s)

    def close(self, leave_s: float = 0.0) -> None:
        """Close the pipes, on which ranks end, and kill those that have not ended after `leave_s`.

        A rank that waits in a collective does not notice. Killing one on a GPU may cause an Xid error.
        """
        for pipe in self._pipes:
            pipe.close()
        deadline = time.monotonic() + leave_s
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        self._folder.cleanup()

    def prepare(self, values: int) -> None:
        """Make buffers of this many values on all ranks."""
        self._order(Order("prepare", values))

    def wrong_values(self) -> int:
        """Check one all-reduce over whole numbers; return the wrong values of the rank that has the most."""
        return max(int(answer) for answer in self._order(Order("check")))

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        (collective,) = calls
        assert isinstance(collective, Collective)
        answers = self._order(Order("time", collective.count, count))
        return [max(times) for times in zip(*answers, strict=True)]

    def bundle(self, calls: Sequence[Call], count: int) -> Call:
        self._order(Order("bundle", count))
        return Collective(count)

    def frequency_mhz(self) -> int | None:
        return None

    def _order(self, order: Order) -> list[Any]:
        """Send an order to all ranks and return their answers."""
        try:
            for rank, pipe in enumerate(self._pipes):
                try:
                    pipe.send(order)
                except OSError as error:
                    raise RankGroupError(f"{self._name(rank)} is gone: {error.strerror}") from error
            return self._answers()
        except RankGroupError:
            self._leave_s = 0.0
            raise

    def _answers(self) -> list[Any]:
        deadline = time.monotonic() + self._answer_s
        return [self._answer(rank, deadline) for rank in range(len(self._pipes))]

    def _answer(self, rank: int, deadline: float) -> Any:
        pipe = self._pipes[rank]
        try:
            while not pipe.poll(0.05):
                self._check_alive()
                if time.monotonic() > deadline:
                    raise RankGroupError(
                        f"{self._name(rank)} has not answered for {self._answer_s:.0f} s: {self._backend} hangs "
                        "(NCCL_DEBUG=INFO makes it say more)"
                    )
            succeeded, answer = pipe.recv()
        except (EOFError, OSError) as error:
            self._check_alive()
            raise RankGroupError(f"{self._name(rank)} ended without a message") from error
        if not succeeded:
            raise RankGroupError(f"{self._name(rank)}: {answer}")
        return answer

    def _check_alive(self) -> None:
        """Raise for a rank that has ended, as it is the cause if others wait for it in a collective."""
        for rank, process in enumerate(self._processes):
            if process.exitcode is not None:
                raise RankGroupError(f"{self._name(rank)} {_exit_reason(self._pipes[rank], process.exitcode)}")

    def _name(self, rank: int) -> str:
        return f"rank {rank} on {self._devices[rank].target}"


def _exit_reason(pipe: Connection, code: int) -> str:
    try:
        succeeded, message = pipe.recv() if pipe.poll() else (True, None)
    except (EOFError, OSError):
        succeeded = True
    return f"ended with {'signal' if code < 0 else 'exit code'} {abs(code)}" if succeeded else f"said: {message}"
