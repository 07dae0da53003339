"""A window of operators on the simulated device: planted kernels, gaps and phases, as kineto would tell them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine_probe.hook.workers import operators
from engine_probe.hook.workers.operator_rows import MARK
from engine_probe.hook.workers.operators import WindowProfiler
from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.record.reader import read_stream
from tests.support.simulated_device import Device, SimulatedCuda
from tests.support.stand_in_workers import US, Planted, RunnerV1, VirtualClock, Worker, run_step

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

    running: "Profile | None" = None

    def __init__(self, clock: VirtualClock) -> None:
        self.events = [seen(MARK, clock.ns, 1, "user_annotation", THREAD)]
        self.profiler = SimpleNamespace(kineto_results=SimpleNamespace(events=lambda: self.events))

    def __enter__(self) -> None:
        Profile.running = self

    def __exit__(self, *_: object) -> None:
        Profile.running = None


def launched(device: Device, kernels: Sequence[tuple[str, int, int]]) -> None:
    for name, on_device, on_host in kernels:
        before = device.clock.ns
        begin, end = device.launch(on_device, on_host)
        if Profile.running is not None:
            events = Profile.running.events
            number = len(events)
            events.append(seen("cudaLaunchKernel", before, on_host, "cuda_runtime", THREAD, number))
            events.append(seen(name, begin, end - begin, "kernel", STREAM, number, "CUDA"))
            events.append(seen("forward", begin, end - begin, "gpu_user_annotation", STREAM, number, "CUDA"))
    if kernels is FORWARD:
        device.forwards.append((begin, end))


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Operators, slices and steps of a run of five steps with a window of two."""
    clock = VirtualClock()
    device = Device(0, clock)
    SimulatedCuda(clock, [device]).install(monkeypatch)
    monkeypatch.setattr(operators, "now", clock.now)
    monkeypatch.setattr(operators, "time_ns", lambda: clock.ns + WALL_NS)
    monkeypatch.setattr(WindowProfiler, "_make", lambda self: Profile(clock))
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
