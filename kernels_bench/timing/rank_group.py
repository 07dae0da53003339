"""One process per device, as a tensor-parallel engine runs, and a clock that times what they do together.

The timing loop stays in the parent and is the same for every test. It speaks to the ranks through pipes: each order
goes to all of them, so that they never disagree on how many collectives there are. Of each sample the slowest rank's
time counts, because the next layer waits for it.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from kernels_bench.results import Device
from kernels_bench.timing.measure import Call
from kernels_bench.timing.rank_process import Order, serve

LEAVE_S = 10.0  # for all ranks to end by themselves
ANSWER_S = 120.0  # the first collective of many cards takes tens of seconds to set up; a round takes one


class CrewError(RuntimeError):
    """What a rank said, or how it ended."""


@dataclass(frozen=True)
class Together:
    """One thing that all ranks do at once. The parent only names it."""

    count: int

    def __call__(self) -> None:
        raise AssertionError("done by the ranks, never here")


class Crew:
    """`with Crew(devices, backend) as crew:`; a `Clock` for `measure`, whose calls are `Together`."""

    def __init__(self, devices: Sequence[Device], backend: str, answer_s: float = ANSWER_S) -> None:
        self.cache_bytes, self.pauses = devices[0].cache_bytes, False
        self.short_ns = 100_000.0 if devices[0].is_cuda else 20_000.0
        self._devices, self._backend, self._answer_s = tuple(devices), backend, answer_s
        self._leave_s = LEAVE_S
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._folder = TemporaryDirectory(prefix="kernels_bench_")

    def __enter__(self) -> Crew:
        spawn = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        try:
            for rank, device in enumerate(self._devices):
                ours, theirs = spawn.Pipe()
                meeting = str(Path(self._folder.name) / "meeting")
                process = spawn.Process(
                    target=serve,
                    args=(theirs, rank, len(self._devices), device, self._backend, meeting),
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(0.0 if error else self._leave_s)

    def close(self, leave_s: float = 0.0) -> None:
        """A rank leaves when its pipe is closed; killed on a card it may leave an Xid behind. One that waits for
        another in a collective hears nothing: it is ended."""
        for pipe in self._pipes:
            pipe.close()
        until = time.monotonic() + leave_s
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
            process.join()
        self._folder.cleanup()

    def prepare(self, values: int) -> None:
        """Another size from now on."""
        self._tell(Order("prepare", values))

    def wrong_values(self) -> int:
        """Of one all-reduce over whole numbers, on the rank that got most of them wrong."""
        return max(int(answer) for answer in self._tell(Order("check")))

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        (together,) = calls
        assert isinstance(together, Together)
        answers = self._tell(Order("time", together.count, count))
        return [max(times) for times in zip(*answers, strict=True)]

    def bundle(self, calls: Sequence[Call], count: int) -> Call:
        self._tell(Order("bundle", count))
        return Together(count)

    def frequency_mhz(self) -> int | None:
        return None

    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def _tell(self, order: Order) -> list[Any]:
        try:
            for rank, pipe in enumerate(self._pipes):
                try:
                    pipe.send(order)
                except OSError as error:
                    raise CrewError(f"{self._name(rank)} is gone: {error.strerror}") from error
            return self._answers()
        except CrewError:
            self._leave_s = 0.0
            raise

    def _answers(self) -> list[Any]:
        until = time.monotonic() + self._answer_s
        return [self._answer(rank, until) for rank in range(len(self._pipes))]

    def _answer(self, rank: int, until: float) -> Any:
        pipe = self._pipes[rank]
        try:
            while not pipe.poll(0.05):
                self._look_for_the_dead()
                if time.monotonic() > until:
                    raise CrewError(
                        f"{self._name(rank)} has not answered for {self._answer_s:.0f} s: {self._backend} hangs "
                        "(NCCL_DEBUG=INFO makes it say more)"
                    )
            fine, answer = pipe.recv()
        except (EOFError, OSError) as error:
            self._look_for_the_dead()
            raise CrewError(f"{self._name(rank)} ended without a word") from error
        if not fine:
            raise CrewError(f"{self._name(rank)}: {answer}")
        return answer

    def _look_for_the_dead(self) -> None:
        """The one that others wait for in a collective is the one that is told, with its own words if it has any."""
        for rank, process in enumerate(self._processes):
            if process.exitcode is not None:
                raise CrewError(f"{self._name(rank)} {_last_words(self._pipes[rank], process.exitcode)}")

    def _name(self, rank: int) -> str:
        return f"rank {rank} on {self._devices[rank].target}"


def _last_words(pipe: Connection, code: int) -> str:
    try:
        fine, said = pipe.recv() if pipe.poll() else (True, None)
    except (EOFError, OSError):
        fine = True
    return f"ended with {'signal' if code < 0 else 'exit code'} {abs(code)}" if fine else f"said: {said}"
