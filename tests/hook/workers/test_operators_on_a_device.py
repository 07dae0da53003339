"""A window of operators on the simulated device: planted kernels, gaps and phases, as kineto would tell them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine_probe.analysis.step.collectives import collective_waits
from engine_probe.hook.workers import operators
from engine_probe.hook.workers.operator_rows import MARK
from engine_probe.hook.workers.operators import WindowProfiler
from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.record.reader import read_stream, read_table
from tests.support.devices.planted_collectives import Forward
from tests.support.devices.simulated_device import Device, SimulatedCuda
from tests.support.devices.stand_in_workers import US, Planted, RunnerV1, VirtualClock, Worker, run_step
from tests.support.recordings.small_tables import table

pytest.importorskip("torch", reason="torch is not installed")

WALL_NS = 1_700_000_000_000_000_000  # the wall clock less the virtual one
THREAD, STREAM = 3, 7
# name, time on the device, and of the host to launch it: the device waits 450 µs for the last of the forward's
FORWARD = (
    ("nvjet_tst_128x8", 200 * US, 10 * US),
    ("flash_fwd_splitkv", 100 * US, 10 * US),
    ("ncclDevKernel_AllReduce", 50 * US, 10 * US),
    ("triton_red_fused_rms_norm", 20 * US, 780 * US),
)
SAMPLING = (("at::native::reduce_kernel<ArgMaxOps>", 30 * US, 5 * US),)


def seen(name: str, begin: int, length: int, kind: str, lane: int, number: int = 0, place: str = "CPU") -> Any:
    """One of kineto's events, by the wall clock."""
    told = {
        "name": name,
        "start_ns": begin + WALL_NS,
        "duration_ns": length,
        "activity_type": kind,
        "start_thread_id": lane,
        "device_resource_id": lane,
        "correlation_id": number,
        "device_type": SimpleNamespace(name=place),
    }
    return SimpleNamespace(**{key: lambda value=value: value for key, value in told.items()})


class Profile:
    """Stands in for torch's profiler, and sees what is launched while it runs."""

    running: ClassVar[dict[int, "Profile"]] = {}  # by rank

    def __init__(self, clock: VirtualClock, rank: int) -> None:
        self.rank = rank
        self.events = [seen(MARK, clock.ns, 1, "user_annotation", THREAD)]
        self.profiler = SimpleNamespace(kineto_results=SimpleNamespace(events=lambda: self.events))

    def __enter__(self) -> None:
        Profile.running[self.rank] = self

    def __exit__(self, *_: object) -> None:
        del Profile.running[self.rank]


def launched(device: Device, kernels: Sequence[tuple[str, int, int]]) -> None:
    for name, on_device, on_host in kernels:
        before = device.clock.ns
        begin, end = device.launch(on_device, on_host)
        if device.index in Profile.running:
            events = Profile.running[device.index].events
            number = len(events)
            events.append(seen("cudaLaunchKernel", before, on_host, "cuda_runtime", THREAD, number))
            events.append(seen(name, begin, end - begin, "kernel", STREAM, number, "CUDA"))
            events.append(seen("forward", begin, end - begin, "gpu_user_annotation", STREAM, number, "CUDA"))


def machine(monkeypatch: pytest.MonkeyPatch, ranks: int) -> SimulatedCuda:
    clock = VirtualClock()
    cuda = SimulatedCuda(clock, [Device(index, clock) for index in range(ranks)])
    cuda.install(monkeypatch)
    monkeypatch.setattr(operators, "now", clock.now)
    monkeypatch.setattr(operators, "time_ns", lambda: clock.ns + WALL_NS)
    monkeypatch.setattr(WindowProfiler, "_make", lambda self: Profile(clock, self._rank))
    return cuda


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Operators, slices and steps of a run of five steps with a window of two."""
    cuda = machine(monkeypatch, 1)
    clock, device = cuda.clock, cuda.devices[0]
    runner = RunnerV1(
        clock,
        Planted(forward=0),  # but launching
        launch=lambda: launched(device, FORWARD),
        sample=lambda: launched(device, SAMPLING),
        keep=device.wait,
    )
    worker = Worker(runner, device="cuda")
    assert attach(worker, str(tmp_path), (2, 1)) is None
    for _ in range(5):
        run_step(worker)
    report = detach(worker)
    assert report is not None
    assert (report["failure"], report["operators"]["failure"], report["operators"]["steps"]) == (None, None, 2)
    names = ("operators", "operator_slices", "workers")
    found = [read_stream(tmp_path / f"{name}-0.arrows", name) for name in names]
    return found[0], found[1], found[2]


def by_kind(rows: pa.Table, phase: str, place: str) -> Counter[str]:
    totals: Counter[str] = Counter()
    for row in rows.to_pylist():
        if (row["phase"], row["place"]) == (phase, place):
            totals[row["kind"]] += row["duration_ns"]
    return totals


def test_the_device_s_time_goes_where_it_was_planted(profiled: tuple[pa.Table, pa.Table, pa.Table]) -> None:
    rows = profiled[0]
    assert set(rows["iteration"].to_pylist()) == {1, 2}
    assert by_kind(rows, "forward", "device") == {
        "matrix product": 2 * 200 * US,
        "attention": 2 * 100 * US,
        "collective": 2 * 50 * US,
        "normalisation": 2 * 20 * US,
        "gap": 2 * 450 * US,  # launched 800 µs after the first, which had 350 µs of work behind it
    }
    assert by_kind(rows, "sampling", "device") == {"sampling": 2 * 30 * US, "gap": 0}


def test_the_forward_of_the_kernels_is_that_of_the_events(profiled: tuple[pa.Table, pa.Table, pa.Table]) -> None:
    rows, _, steps = profiled
    for number in (1, 2):
        mine = rows.filter(pc.equal(rows["iteration"], number))
        by_events = steps["device_ns"][number].as_py()
        assert sum(by_kind(mine, "forward", "device").values()) == pytest.approx(by_events, rel=0.02)


def test_the_host_s_time_in_the_forward_is_launching(profiled: tuple[pa.Table, pa.Table, pa.Table]) -> None:
    assert by_kind(profiled[0], "forward", "host") == {"launch": 2 * 810 * US}


def test_kernels_are_slices_on_their_stream_at_their_times(profiled: tuple[pa.Table, pa.Table, pa.Table]) -> None:
    _, slices, steps = profiled
    kernels = slices.filter(pc.equal(slices["place"], "device"))
    assert set(kernels["stream"].to_pylist()) == {STREAM}
    assert kernels.num_rows == 2 * 5
    began = kernels["start_ns"][0].as_py()
    assert began - steps["device_start_ns"][1].as_py() < 20 * US


def kernels_of(forward: Forward, rank: int) -> list[tuple[str, int, int]]:
    """Return the kernels of a rank: NCCL's spin until every rank has come, and then take the cost of the collective."""
    kernels = []
    for work, wait in zip(forward.work_ns[rank].tolist(), forward.waits_ns[:, rank].tolist(), strict=True):
        kernels += [("nvjet_tst_128x8", work, 5 * US), ("ncclDevKernel_AllReduce", wait + forward.cost_ns, 5 * US)]
    return kernels


def test_waiting_in_collectives_is_told_from_work_on_two_devices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The ranks come late in turns, so that only the time of each collective tells what was waited, and for whom."""
    cuda, drawn = machine(monkeypatch, 2), np.random.default_rng(7)
    forwards = [Forward(drawn.integers(300 * US, 900 * US, (2, 5)), 30 * US) for _ in range(40)]
    workers, window = [], (1, len(forwards) - 1)
    for device in cuda.devices:
        cuda.set_device(device)
        workers.append(Worker(RunnerV1(cuda.clock, Planted(forward=0), keep=device.wait), device.index, "cuda"))
        assert attach(workers[-1], str(tmp_path), (window[1], window[0])) is None
    for forward in forwards:
        at = cuda.clock.ns
        for worker, device in zip(workers, cuda.devices, strict=True):
            cuda.clock.ns = at  # the ranks run side by side
            cuda.set_device(device)
            kernels = kernels_of(forward, device.index)
            worker.model_runner.launch = lambda device=device, kernels=kernels: launched(device, kernels)
            run_step(worker)
    reports = []
    for worker, device in zip(workers, cuda.devices, strict=True):
        cuda.set_device(device)
        reports.append(detach(worker))
    assert [report and report["failure"] for report in reports] == [None, None]
    told = {
        "status": "complete",
        "kv": {"blocks": 1},
        "engine": {"arguments": {"parallel_config": {"tensor_parallel_size": 2}}},
        "workers": {"ranks": reports},
    }
    slices = pa.concat_tables(
        read_stream(tmp_path / f"operator_slices-{rank}.arrows", "operator_slices") for rank in (0, 1)
    )
    found = collective_waits(told, read_table(tmp_path, "workers", told), table("collectives", []), slices)
    assert found is not None
    seen = forwards[window[0] :]
    assert (found.place, found.steps, found.collectives) == ("device", len(seen), 5)
    waits = sum(forward.waits_ns.sum(axis=0) for forward in seen) / len(seen)
    work = sum(forward.work_ns.sum(axis=1) for forward in seen) / len(seen)
    assert [rank.waiting_ns for rank in found.ranks] == pytest.approx(waits, rel=0.02)
    assert [rank.work_ns for rank in found.ranks] == pytest.approx(work, rel=0.02)
    assert [rank.communicating_ns for rank in found.ranks] == pytest.approx([5 * 30 * US] * 2, rel=0.02)
    assert waits.min() > 200 * US
