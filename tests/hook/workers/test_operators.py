"""A window of operators in a worker: torch's real profiler on chosen steps, its failures contained, nothing left."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine_probe.errors import InputError
from engine_probe.hook.workers.operators import WindowProfiler, check_engine
from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.record.reader import read_stream
from engine_probe.record.run_json import MOST_PROFILED_STEPS, operator_window
from engine_probe.record.writer import TableStream
from tests.support.devices.stand_in_workers import RunnerV1, VirtualClock, Worker, run_step

torch = pytest.importorskip("torch", reason="torch is not installed")

pytestmark = pytest.mark.lengthy  # torch's profiler imports two seconds of modules


def profiling() -> bool:
    return bool(torch._C._autograd._profiler_enabled())


@pytest.fixture(autouse=True)
def no_profiler_is_left() -> Iterator[None]:
    yield
    assert not profiling()


class LlamaMLP(torch.nn.Module):
    def forward(self, values: Any) -> Any:
        return torch.mm(values, values)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([LlamaMLP(), LlamaMLP()])

    def forward(self, values: Any) -> Any:
        for layer in self.layers:
            values = layer(values)
        return torch.add(values, 1)


def eager_worker(mode: int = 0) -> Worker:
    """A worker whose forward computes two matrix products in layers and an addition between them."""
    model, values = Model(), torch.rand(64, 64)
    worker = Worker(RunnerV1(VirtualClock(), launch=lambda: model(values)))
    worker.model_runner.model = model
    worker.vllm_config = SimpleNamespace(compilation_config=SimpleNamespace(mode=mode))
    return worker


def profiled(worker: Worker, folder: Path, window: tuple[int, int], steps: int = 5) -> tuple[pa.Table, dict[str, Any]]:
    assert attach(worker, str(folder), window) is None
    for _ in range(steps):
        assert run_step(worker) == "tokens"
    report = detach(worker)
    assert report is not None
    assert report["failure"] is None
    return read_stream(folder / "operators-0.arrows", "operators"), report["operators"]


def test_only_the_steps_of_the_window_have_operators(tmp_path: Path) -> None:
    rows, told = profiled(eager_worker(), tmp_path, (2, 1))
    assert set(rows["iteration"].to_pylist()) == {1, 2}
    assert (told["steps"], told["rows"], told["failure"]) == (2, rows.num_rows, None)
    assert told["began_ns"] < told["ended_ns"]
    products = rows.filter(pc.equal(rows["name"], "aten::mm"))
    assert set(products["kind"].to_pylist()) == {"matrix product"}
    assert pc.sum(products["calls"]).as_py() == 2 * 2


def test_the_rows_of_a_phase_add_up_to_its_duration(tmp_path: Path) -> None:
    rows, _ = profiled(eager_worker(), tmp_path, (3, 1))
    steps = read_stream(tmp_path / "workers-0.arrows", "workers")
    for number in (1, 2, 3):
        forward = rows.filter((pc.field("iteration") == number) & (pc.field("phase") == "forward"))
        assert pc.sum(forward["duration_ns"]).as_py() == steps["forward_ns"][number].as_py()


def test_layers_of_an_eager_model_are_told_apart_and_their_hooks_removed(tmp_path: Path) -> None:
    worker = eager_worker()
    rows, told = profiled(worker, tmp_path, (2, 1))
    layers = {(row["name"], row["layer"]) for row in rows.to_pylist() if row["name"] in ("aten::mm", "aten::add")}
    assert layers == {("aten::mm", "MLP"), ("aten::add", None)}
    assert told["layers_missing"] is None
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in worker.model_runner.model.modules())


def test_a_compiled_model_gets_no_hooks_which_is_said(tmp_path: Path) -> None:
    rows, told = profiled(eager_worker(mode=3), tmp_path, (2, 1))
    assert "compiled" in told["layers_missing"]
    assert set(rows["layer"].to_pylist()) == {None}
    assert set(rows["iteration"].to_pylist()) == {1, 2}


def test_slices_lie_on_the_clock_of_the_steps(tmp_path: Path) -> None:
    profiled(eager_worker(), tmp_path, (2, 1))
    slices = read_stream(tmp_path / "operator_slices-0.arrows", "operator_slices")
    steps = read_stream(tmp_path / "workers-0.arrows", "workers")
    products = slices.filter(pc.equal(slices["name"], "aten::mm"))
    assert products.num_rows == 4
    for at, row in zip((1, 1, 2, 2), products.to_pylist(), strict=True):
        begin, end = row["start_ns"], row["start_ns"] + row["duration_ns"]
        forward = steps["forward_start_ns"][at].as_py()
        assert forward <= begin < end <= forward + steps["forward_ns"][at].as_py()


def test_a_window_that_the_run_does_not_reach(tmp_path: Path) -> None:
    rows, told = profiled(eager_worker(), tmp_path, (20, 100))
    assert (rows.num_rows, told["steps"], told["failure"]) == (0, 0, None)


def test_a_recording_that_ends_within_the_window_keeps_what_was_seen(tmp_path: Path) -> None:
    rows, told = profiled(eager_worker(), tmp_path, (20, 3))
    assert set(rows["iteration"].to_pylist()) == {3, 4}
    assert told["steps"] == 2


def test_another_profiler_is_left_alone_and_the_window_says_so(tmp_path: Path) -> None:
    worker = eager_worker()
    assert attach(worker, str(tmp_path), (2, 1)) is None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as theirs:
        for _ in range(4):
            assert run_step(worker) == "tokens"
    report = detach(worker)
    assert report is not None
    assert (report["rows"], report["failure"], report["operators"]["steps"]) == (4, None, 0)
    assert "profiler" in report["operators"]["failure"]
    assert sum(each.name == "aten::mm" for each in theirs.events()) == 8
    assert not any(each._forward_hooks for each in worker.model_runner.model.modules())


def test_a_worker_that_cannot_be_attached_to_leaves_no_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = TableStream.close
    monkeypatch.setattr(TableStream, "close", lambda stream: (closed.append(stream.path.name), close(stream))[1])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        assert "one at a time" in str(attach(eager_worker(), str(tmp_path), (2, 1)))
    assert closed == ["workers-0.arrows"]


def test_a_failure_within_the_window_ends_the_profiler_and_not_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: WindowProfiler) -> None:
        raise OSError("planted")

    monkeypatch.setattr(WindowProfiler, "_hook_layers", fail)
    rows, told = profiled(eager_worker(), tmp_path, (2, 1))
    assert rows.num_rows == 0
    assert "planted" in told["failure"]


def test_what_cannot_be_folded_costs_the_window_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine_probe.hook.workers.operators.folded", lambda *_: 1 / 0)
    worker = eager_worker()
    assert attach(worker, str(tmp_path), (2, 1)) is None
    for _ in range(4):
        run_step(worker)
    report = detach(worker)
    assert report is not None
    assert (report["rows"], report["failure"]) == (4, None)
    assert "ZeroDivisionError" in report["operators"]["failure"]


def test_a_recording_that_is_ended_by_another_thread_stops_the_profiler_before_the_next_step(tmp_path: Path) -> None:
    worker = eager_worker()
    assert attach(worker, str(tmp_path), (20, 0)) is None
    run_step(worker)
    told: list[Any] = []
    thread = threading.Thread(target=lambda: told.append(detach(worker)))
    thread.start()
    thread.join()
    assert "another thread" in told[0]["operators"]["failure"]
    assert profiling()
    run_step(worker)
    assert not profiling()
    assert "execute_model" not in vars(worker)


def test_a_profiler_that_two_threads_end_is_ended_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    worker = eager_worker()
    assert attach(worker, str(tmp_path), (20, 0)) is None
    run_step(worker)
    fail = vars(worker)["_engine_probe_worker"]._fail
    thread = threading.Thread(target=fail, args=(OSError("planted"),))
    thread.start()
    thread.join()
    report = detach(worker)
    run_step(worker)
    assert report is not None
    assert "planted" in report["failure"]
    assert "execute_model" not in vars(worker)
    assert "could not profile" not in caplog.text


def test_an_engine_with_a_profiler_is_refused() -> None:
    core = SimpleNamespace(vllm_config=SimpleNamespace(profiler_config=SimpleNamespace(profiler="torch")))
    with pytest.raises(InputError, match="profiler_config"):
        check_engine(core)
    core.vllm_config.profiler_config.profiler = None
    check_engine(core)
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]),
        pytest.raises(InputError, match="one at a time"),
    ):
        check_engine(core)


def test_a_torch_without_its_profiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.autograd, "kineto_available", lambda: False)
    with pytest.raises(InputError, match="without its profiler"):
        check_engine(SimpleNamespace(vllm_config=SimpleNamespace()))


@pytest.mark.parametrize(
    "text", ["20", "20@", "@100", "20@100@3", "-1@5", "0@5", "20@-1", "a@b", "", 20, f"{MOST_PROFILED_STEPS + 1}@0"]
)
def test_other_windows_are_refused(text: object) -> None:
    with pytest.raises(InputError):
        operator_window(text)


def test_a_window_is_read_as_it_is_written() -> None:
    window = operator_window("20@100")
    assert (window.steps, window.first, window.last, str(window)) == (20, 100, 119, "20@100")
