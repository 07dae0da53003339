"""A real group of two ranks over gloo on this CPU; on GPUs the same code uses NCCL."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from kernels_bench.benchmarks import allreduce
from kernels_bench.benchmarks.context import Bench
from kernels_bench.devices.cpu import cpu
from kernels_bench.results import Figure
from kernels_bench.timing import rank_group
from kernels_bench.timing.clocks import CpuClock
from kernels_bench.timing.measure import Effort, Work, measure
from kernels_bench.timing.rank_group import Collective, RankGroup
from kernels_bench.timing.rank_process import Order, Rank
from tests.support.engines.forked_engine import SERVER

pytestmark = pytest.mark.lengthy

SHORT = Effort(round_s=0.01, rounds_at_most=3, warm_up_at_most_s=0.01, tolerance=1.0)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks ranks from a process that has imported torch: a new interpreter needs seconds for it."""
    monkeypatch.setattr(rank_group, "multiprocessing", SimpleNamespace(get_context=lambda kind: SERVER))


@pytest.fixture
def pair(forked: None) -> Iterator[RankGroup]:
    with RankGroup((cpu(), cpu()), "gloo") as crew:
        yield crew


def test_two_ranks_add_up_through_the_one_timing_loop(pair: RankGroup) -> None:
    pair.prepare(1000)
    found = measure(Work((Collective(1),), cold=False), pair, SHORT)
    assert found.median_ns > 0
    assert all(len(times) >= 3 for times in found.rounds_ns)
    assert pair.wrong_values() == 0
    pair.bundle((Collective(1),), 5)
    assert len(pair.time_ns((Collective(5),), 4, False)) == 4


def test_ranks_leave_by_themselves_when_all_is_done(forked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that is killed on a GPU may cause an Xid, which would count as a fault of the GPU."""
    monkeypatch.setattr(rank_group, "LEAVE_S", 300.0)  # on a machine that is busy with other tests
    with RankGroup((cpu(), cpu()), "gloo") as crew:
        processes = list(crew._processes)
        crew.prepare(1000)
    assert [process.exitcode for process in processes] == [0, 0]


def test_the_slowest_rank_is_the_one_that_counts(pair: RankGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "_order", lambda order: [[1.0, 5.0], [3.0, 2.0]])
    assert pair.time_ns((Collective(1),), 2, False) == [3.0, 5.0]


def test_a_rank_that_dies_is_named(pair: RankGroup) -> None:
    os.kill(pair._processes[1].pid or 0, signal.SIGKILL)
    pair._processes[1].join()
    with pytest.raises(RuntimeError, match=r"rank 1 on cpu (ended with signal 9|is gone)"):
        pair.prepare(1000)


def test_ranks_that_hang_are_given_up_and_ended(forked: None) -> None:
    with RankGroup((cpu(), cpu()), "gloo") as crew:
        processes = list(crew._processes)
        os.kill(processes[0].pid or 0, signal.SIGSTOP)
        crew._answer_s = 0.3
        with pytest.raises(RuntimeError, match="rank 0 on cpu has not answered for 0 s: gloo hangs"):
            crew.prepare(1000)
    assert processes[0].exitcode == -signal.SIGKILL
    assert processes[1].exitcode is not None  # killed, or by itself when its pipe was closed


def test_what_a_rank_says_comes_back_in_its_words(pair: RankGroup) -> None:
    with pytest.raises(RuntimeError, match=r"rank 0 on cpu: RuntimeError: .*negative"):
        pair.prepare(-1)


def test_a_rank_notices_a_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    alone = Rank(0, 2, cpu(), torch.device("cpu"))
    alone.prepare(1000)
    monkeypatch.setattr(Rank, "reduce", lambda self: None)  # a library that adds nothing
    assert alone.carry_out(Order("check")) > 900


def test_the_test_itself_on_two_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In new processes, as on GPUs."""
    monkeypatch.setattr(allreduce, "QUICK_TOKENS", (1,))
    device = cpu()
    bench = Bench(device, CpuClock(device.cache_bytes), SHORT, True, lambda text: None)
    (figure,) = allreduce.run((bench, bench))
    assert isinstance(figure, Figure)
    assert (figure.name, figure.detail["backend"]) == ("1 tokens × 8192", "gloo")
    assert figure.check is not None
    assert figure.check.passed
