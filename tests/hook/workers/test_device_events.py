"""Device times on a simulated GPU, whose truth is known: planted forwards, gaps, launches and ranks are recovered."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.batch.graphs import graph_use
from engine_probe.analysis.step.losses import straggler
from engine_probe.analysis.step.phases import DeviceForwards, device_forwards
from engine_probe.hook.workers import step_rows
from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.record.reader import read_stream, read_table
from tests.support.devices.simulated_device import Device, SimulatedCuda
from tests.support.devices.stand_in_workers import (
    US,
    GraphMode,
    Planted,
    RunnerV1,
    RunnerV2,
    VirtualClock,
    Worker,
    in_graphs,
    run_step,
)
from tests.support.recordings.small_tables import table

MS = 1_000 * US
WITHIN = 0.02
FACTS: dict[str, Any] = {"engine": {"arguments": {}}}


@dataclass(frozen=True)
class Forward:
    """The kernels of a forward, and what each takes on the device and to launch."""

    kernels: int
    device_ns: int
    host_ns: int


PREFILL = Forward(200, 100 * US, 6 * US)
EAGER_DECODE = Forward(300, 3 * US, 8 * US)  # the device waits for every launch
GRAPH = Forward(1, 5 * MS, 60 * US)


class Rank:
    """A worker on a GPU of a simulated machine."""

    def __init__(self, cuda: SimulatedCuda, index: int, runner: Any, asynchronous: bool) -> None:
        self.device, self.clock = cuda.devices[index], cuda.clock
        self.asynchronous, self.forward = asynchronous, GRAPH
        self.ends: list[int] = []
        runner = runner(self.clock, Planted(150 * US, 0, 10 * US, 20 * US, 30 * US))
        runner.launch, runner.sample, runner.keep = self._launch, self._sample, self._keep
        self.worker = Worker(runner, index, "cuda")

    def _launch(self) -> None:
        self.device.forward(self.forward.kernels, self.forward.device_ns, self.forward.host_ns)

    def _sample(self) -> None:
        self.ends.append(self.device.launch(80 * US, 10 * US)[1])

    def _keep(self) -> None:
        """Synchronous scheduling waits for this step's tokens, asynchronous for those of the step before."""
        if not self.asynchronous:
            self.device.wait()
        elif len(self.ends) > 1:
            self.clock.ns = max(self.clock.ns, self.ends[-2])

    def step(self, forward: Forward, idle_ns: int = 0, tokens: int = 1) -> None:
        self.forward = forward
        self.clock.spend(idle_ns)
        assert run_step(self.worker, tokens) == "tokens"


def machine(monkeypatch: pytest.MonkeyPatch, ranks: int = 1, drift: float = 0.0) -> SimulatedCuda:
    clock = VirtualClock()
    cuda = SimulatedCuda(clock, [Device(index, clock, drift) for index in range(ranks)])
    cuda.install(monkeypatch)
    return cuda


def begin(cuda: SimulatedCuda, rank: Rank, folder: Path) -> None:
    choose(cuda, rank)
    assert attach(rank.worker, str(folder)) is None


def choose(cuda: SimulatedCuda, rank: Rank) -> None:
    """Be in this rank's process, where vLLM has chosen its device."""
    cuda.set_device(SimpleNamespace(index=rank.device.index))


def recorded(cuda: SimulatedCuda, folder: Path, ranks: list[Rank]) -> pa.Table:
    reports = []
    for rank in ranks:
        choose(cuda, rank)
        reports.append(detach(rank.worker))
    assert [report and report["failure"] for report in reports] == [None] * len(ranks)
    return read_table(folder, "workers", {"status": "complete", "kv": {"blocks": 1}, "workers": {"ranks": reports}})


def truth(rank: Rank) -> tuple[Any, Any]:
    begins, ends = np.array(rank.device.forwards).T
    return begins, ends


def use_of(workers: pa.Table) -> DeviceForwards:
    count = max(workers["iteration"].to_pylist()) + 1
    steps = table("iterations", [{"iteration": number} for number in range(count)])
    found = device_forwards(steps, workers, np.zeros(count, dtype=bool))
    assert found is not None
    return found


@pytest.mark.parametrize("asynchronous", [False, True], ids=["synchronous", "asynchronous"])
@pytest.mark.parametrize("runner", [RunnerV1, RunnerV2])
@pytest.mark.parametrize("forward", [PREFILL, EAGER_DECODE, GRAPH], ids=["prefill", "eager decode", "graph"])
def test_planted_forwards_and_gaps_are_recovered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forward: Forward, runner: Any, asynchronous: bool
) -> None:
    cuda = machine(monkeypatch, drift=3e-5)
    rank = Rank(cuda, 0, runner, asynchronous)
    begin(cuda, rank, tmp_path)
    for number in range(60):
        rank.step(forward, idle_ns=number % 3 * 40 * MS)
    workers = recorded(cuda, tmp_path, [rank])
    begins, ends = truth(rank)
    start, span = workers["device_start_ns"].to_numpy(), workers["device_ns"].to_numpy()
    assert np.abs(span / (ends - begins) - 1).max() < WITHIN
    gaps, planted = start[1:] - (start + span)[:-1], begins[1:] - ends[:-1]
    idle = np.arange(1, 60) % 3 > 0
    assert np.abs(gaps[idle] / planted[idle] - 1).max() < WITHIN
    assert np.abs(gaps - planted).max() < 100 * US  # what the host takes to launch the first kernel
    found = use_of(workers)
    assert found.mean_ns == pytest.approx((ends - begins).mean(), rel=WITHIN)
    assert found.between_ns == pytest.approx(planted.mean(), rel=WITHIN)
    assert found.launch_bound_steps == (1.0 if forward is EAGER_DECODE else 0.0)


def test_launch_bound_steps_are_told_from_gpu_bound_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cuda = machine(monkeypatch)
    rank = Rank(cuda, 0, RunnerV1, asynchronous=False)
    begin(cuda, rank, tmp_path)
    for number in range(40):
        rank.step(EAGER_DECODE if number % 4 else PREFILL)
    found = use_of(recorded(cuda, tmp_path, [rank]))
    begins, ends = truth(rank)
    bound = np.arange(40) % 4 > 0
    assert found.launch_bound_steps == 0.75
    assert found.launch_bound_share == pytest.approx((ends - begins)[bound].sum() / (ends - begins).sum(), rel=WITHIN)


def test_planted_padding_is_recovered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the steps a quarter is outside the graphs and long; of the tokens of the others every fourth is padding."""
    cuda = machine(monkeypatch)
    rank = Rank(cuda, 0, RunnerV1, asynchronous=False)
    rank.worker.model_runner.dispatch = in_graphs((4, 8), GraphMode.FULL)
    begin(cuda, rank, tmp_path)
    for number in range(40):
        inside = bool(number % 4)
        rank.step(GRAPH if inside else EAGER_DECODE, tokens=6 if inside else 9)
    workers = recorded(cuda, tmp_path, [rank])
    begins, ends = truth(rank)
    spans = ends - begins
    steps = table("iterations", [{"iteration": number} for number in range(40)])
    found = graph_use({"compilation": {"max_capture_size": 8}}, steps, workers, spans)
    assert found is not None
    assert [(mode.name, mode.steps, mode.padding_share) for mode in found.modes] == [
        ("outside graphs", 10, 0),
        ("full graph", 30, 0.25),
    ]
    planted = 0.25 * spans[np.arange(40) % 4 > 0].sum() / spans.sum()
    assert found.padding_cost == pytest.approx(planted, rel=WITHIN)


def test_hours_keep_microseconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two hours of steps and a device clock that gains 144 ms in them; one float32 of the distance holds 0.5 ms."""
    cuda = machine(monkeypatch, drift=2e-5)
    rank = Rank(cuda, 0, RunnerV1, asynchronous=False)
    begin(cuda, rank, tmp_path)
    for _ in range(4_000):
        rank.step(GRAPH, idle_ns=1_800 * MS)
    workers = recorded(cuda, tmp_path, [rank])
    begins, _ = truth(rank)
    assert begins[-1] - begins[0] > 7_200 * 1_000 * MS
    late = workers["device_start_ns"].to_numpy() - begins
    assert np.abs(late).max() < 75 * US  # the launch of the graph is 60 of them
    assert np.ptp(late) < 10 * US


def test_before_the_end_is_known_the_first_anchor_places_the_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A recording that was cut has no second anchor."""
    cuda = machine(monkeypatch, drift=2e-5)
    rank = Rank(cuda, 0, RunnerV1, asynchronous=False)
    begin(cuda, rank, tmp_path)
    for _ in range(20):
        rank.step(GRAPH)
    report = detach(rank.worker)
    assert report is not None
    assert report["device_clock"]["end"]["device_ns"] > report["device_clock"]["end"]["host_ns"]
    cut = read_table(tmp_path, "workers", {"status": "recording", "kv": {"blocks": 1}})
    begins, _ = truth(rank)
    assert np.abs(cut["device_start_ns"].to_numpy() - begins).max() < 80 * US


def test_the_rank_that_begins_last_is_the_straggler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two devices whose clocks gain and lose; rank 1 begins 300 µs late, and rank 0 waits for it in a collective."""
    cuda = machine(monkeypatch, ranks=2)
    cuda.devices[0].drift, cuda.devices[1].drift = 3e-5, -3e-5
    ranks = [Rank(cuda, index, RunnerV1, asynchronous=False) for index in (0, 1)]
    for rank in ranks:
        begin(cuda, rank, tmp_path)
    for _ in range(50):
        at = cuda.clock.ns
        for rank, late, device_ns in zip(ranks, (0, 300 * US), (5_300 * US, 5_000 * US), strict=True):
            cuda.clock.ns = at  # the ranks run side by side
            choose(cuda, rank)
            rank.step(Forward(1, device_ns, 50 * US), idle_ns=late)
    workers = recorded(cuda, tmp_path, ranks)
    found = straggler(FACTS, workers)
    assert found is not None
    assert (found.rank, found.last_share, found.clock) == (1, 1.0, "device")
    assert 2 * found.behind_ns == pytest.approx(300 * US, rel=WITHIN)  # the median of two lies half-way


def test_every_thread_of_ours_chooses_the_ranks_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A thread that asks CUDA anything without having chosen a device opens a context on GPU 0."""
    monkeypatch.setattr(step_rows, "FLUSH_SECONDS", 0.001)
    cuda = machine(monkeypatch, ranks=2)
    rank = Rank(cuda, 1, RunnerV1, asynchronous=False)
    begin(cuda, rank, tmp_path)
    for _ in range(20):
        rank.step(GRAPH)
        threading.Event().wait(0.002)
    recorded(cuda, tmp_path, [rank])
    assert cuda.contexts == {1}


def test_nothing_waits_while_it_records_and_events_are_used_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(step_rows, "FLUSH_SECONDS", 3_600)
    cuda = machine(monkeypatch)
    rank = Rank(cuda, 0, RunnerV1, asynchronous=True)
    begin(cuda, rank, tmp_path)
    hook = vars(rank.worker)["_engine_probe_worker"]
    waits, made = cuda.waits, cuda.made
    for _ in range(30):
        for _ in range(10):
            rank.step(GRAPH)
        rank.device.wait()
        hook._drain()
    assert cuda.waits == waits
    assert cuda.made - made <= 20
    recorded(cuda, tmp_path, [rank])


def test_events_that_cannot_be_made_cost_only_the_device_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cuda = machine(monkeypatch)

    def refuse(enable_timing: bool = False) -> None:
        raise RuntimeError("planted: no timing")

    monkeypatch.setattr(cuda, "Event", refuse)
    rank = Rank(cuda, 0, RunnerV1, asynchronous=False)
    begin(cuda, rank, tmp_path)
    rank.step(GRAPH)
    report = detach(rank.worker)
    assert report is not None
    assert (report["failure"], report["rows"]) == (None, 1)
    assert "planted: no timing" in report["device_missing"]


def test_an_event_that_fails_ends_the_recording_and_not_the_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cuda = machine(monkeypatch)
    rank = Rank(cuda, 0, RunnerV1, asynchronous=False)
    begin(cuda, rank, tmp_path)
    rank.step(GRAPH)
    monkeypatch.setattr(cuda, "current", lambda: 1 / 0)
    for _ in range(3):
        rank.step(GRAPH)
    report = detach(rank.worker)
    assert report is not None
    assert "ZeroDivisionError" in report["failure"]
    assert "_model_forward" not in vars(rank.worker.model_runner)


@pytest.mark.parametrize("elsewhere", [None, 0], ids=["no device chosen", "another device chosen"])
def test_the_thread_that_calls_us_is_on_the_ranks_device_only_meanwhile(
    elsewhere: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray calls us in another thread than that of its graph, for which alone vLLM chooses the device."""
    cuda = machine(monkeypatch, ranks=2)
    rank = Rank(cuda, 1, RunnerV1, asynchronous=False)
    left_on: list[int | None] = []

    def called_by_ray(call: Any, *args: Any) -> None:
        def run() -> None:
            if elsewhere is not None:
                cuda.set_device(SimpleNamespace(index=elsewhere))
            call(rank.worker, *args)
            left_on.append(getattr(cuda.thread, "index", None))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    called_by_ray(attach, str(tmp_path))
    choose(cuda, rank)  # the thread of Ray's graph
    rank.step(GRAPH)
    called_by_ray(detach)
    assert cuda.contexts == {1}
    assert left_on == [elsewhere, elsewhere]
    assert read_stream(tmp_path / "workers-1.arrows", "workers").num_rows == 1
