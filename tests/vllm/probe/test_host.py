"""What the host does around a probe, and what the probe must not do to its host."""

from __future__ import annotations

import gc
import os
import resource
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from engine_probe import IncompleteRecordingWarning, InputError, Probe, UnavailableError, load, probe
from engine_probe import recording as recording_module
from engine_probe.hook import between_steps, vllm_versions
from engine_probe.hook import engine_core as hook_engine
from engine_probe.hook.patches import Patches
from engine_probe.hook.request_counters import RequestCounters
from engine_probe.hook.scheduler import SchedulerHook
from engine_probe.hook.workers import calls as worker_calls
from engine_probe.hook.workers import step_rows as worker
from engine_probe.record.writer import Writer
from engine_probe.telemetry.sampler import Sampler
from tests.support.engines.scheduler_engine import core_of, generate, held
from tests.support.processes.waiting import wait_until

Answers = dict[str, list[int]]


@pytest.fixture(scope="module")
def bare(engine: Any) -> Answers:
    return answers(engine)


@pytest.fixture(autouse=True)
def nothing_left(engine: Any) -> Iterator[None]:
    before, descriptors = held(engine), open_files()
    yield
    wait_until(lambda: not our_threads())
    assert held(engine) == before
    assert open_files() == descriptors


def answers(engine: Any) -> Answers:
    engine.reset_prefix_cache()
    return generate(engine)


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("engine_probe")]


def open_files() -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    return sorted(name for name in found if name.endswith((".arrow", ".arrows", ".json")))


# ---- who may enter, and who leaves ------------------------------------------------------------------------------


def test_of_two_threads_that_enter_at_once_one_gets_in(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def together(ranks: list[str]) -> dict[str, Any]:
        with suppress(threading.BrokenBarrierError):
            both.wait(1)
        return {}

    monkeypatch.setattr(probe, "hardware_facts", together)
    entered: list[Probe] = []
    refused: list[InputError] = []

    def enter(name: str) -> None:
        try:
            entered.append(Probe(engine, tmp_path / name).__enter__())
        except InputError as error:
            refused.append(error)

    threads = [threading.Thread(target=enter, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in entered:
        one.__exit__(None, None, None)
    assert (len(entered), len(refused)) == (1, 1)
    assert "Probe.detach(engine)" in str(refused[0])


def test_a_probe_that_is_dropped_frees_its_engine_and_says_so(
    engine: Any, bare: Answers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Probe(engine, tmp_path / "dropped").__enter__()
    gc.collect()
    assert answers(engine) == bare
    wait_until(lambda: load(tmp_path / "dropped").finished)
    assert "dropped without leaving its `with` block" in load(tmp_path / "dropped").notes[0]
    assert caplog.text.count("dropped without leaving") == 1
    with Probe(engine, tmp_path / "next") as following:
        assert answers(engine) == bare
    assert following.run.status == "complete"


def test_a_recording_is_closed_from_elsewhere(engine: Any, tmp_path: Path) -> None:
    forgotten = Probe(engine, tmp_path / "run").__enter__()
    answers(engine)
    assert Probe.detach(engine)
    assert not Probe.detach(engine)
    forgotten.__exit__(None, None, None)
    assert forgotten.run.status == "complete"
    assert forgotten.run.requests.num_rows == 12


def test_leaving_twice_keeps_the_recording(engine: Any, tmp_path: Path) -> None:
    with Probe(engine, tmp_path / "run") as twice:
        answers(engine)
    twice.__exit__(None, None, None)
    assert load(tmp_path / "run").status == "complete"
    assert load(tmp_path / "run").requests.num_rows == 12


def test_a_fork_that_ends_leaves_the_recording_to_its_parent(engine: Any, bare: Answers, tmp_path: Path) -> None:
    with Probe(engine, tmp_path / "run"):
        first = answers(engine)
        child = os.fork()
        if not child:
            try:
                raise SystemExit
            except SystemExit as left:
                recorded_by = probe_on(engine)
                recorded_by.close(left)
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        second = answers(engine)
    assert first == second == bare
    run = load(tmp_path / "run")
    assert run.status == "complete", run.notes
    assert run.requests.num_rows == 24


def probe_on(engine: Any) -> Any:
    found = recording_module.recording_of(core_of(engine))
    assert found is not None
    return found


def test_another_working_folder_leads_to_no_other_recording(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "there")
    with Probe(engine, "run"):
        pass
    other = (tmp_path / "there/run/run.json").read_bytes()
    monkeypatch.chdir(tmp_path / "here")
    with Probe(engine, "run"):
        answers(engine)
        os.chdir(tmp_path / "there")
    assert (tmp_path / "there/run/run.json").read_bytes() == other
    assert load(tmp_path / "here/run").status == "complete"
    assert load(tmp_path / "here/run").requests.num_rows == 12


# ---- who else is there ------------------------------------------------------------------------------------------


def test_hooks_that_another_tool_wrapped_keep_nothing(engine: Any, bare: Answers, tmp_path: Path) -> None:
    core = core_of(engine)
    pool = core.scheduler.kv_cache_manager.block_pool
    methods = [
        *((core.scheduler, name) for name in ("schedule", "update_from_output", "add_request", "_preempt_request")),
        *((pool, name) for name in ("touch", "free_blocks", "_maybe_evict_cached_block", "reset_prefix_cache")),
        *((core.model_executor.worker, name) for name in ("execute_model", "sample_tokens")),
    ]
    with Probe(engine, tmp_path / "run") as wrapped:
        for owner, name in methods:
            setattr(owner, name, wrap(getattr(owner, name)))
    recorder = wrapped.recorder
    assert answers(engine) == bare
    assert not recorder.requests
    assert not recorder.preemptions
    assert not recorder.changes
    with Probe(engine, tmp_path / "next") as following:
        assert answers(engine) == bare
    assert following.run.status == "complete", following.run.notes
    for owner, name in methods:
        delattr(owner, name)


def wrap(method: Any) -> Any:
    return lambda *args, **kwargs: method(*args, **kwargs)


def test_entering_and_leaving_while_another_thread_steps_the_engine(engine: Any, bare: Answers, tmp_path: Path) -> None:
    ending, wrong = threading.Event(), []

    def serve() -> None:
        while not ending.is_set():
            if answers(engine) != bare:
                wrong.append("other tokens")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        runs = []
        for number in range(25):
            with warnings.catch_warnings(action="ignore"), Probe(engine, tmp_path / str(number), telemetry=False):
                time.sleep(0.01 + number % 5 / 100)
            runs.append(load(tmp_path / str(number)))
    finally:
        ending.set()
        thread.join()
    assert not wrong
    assert [run.notes for run in runs if run.status != "complete"] == []


def test_a_recording_whose_counters_could_not_be_audited_says_so(
    engine: Any, bare: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.v1.request import RequestStatus

    monkeypatch.setattr(between_steps, "LONGEST_WAIT_SECONDS", 0.2)
    scheduler, inside, leave = core_of(engine).scheduler, threading.Event(), threading.Event()

    def nobody() -> Iterator[str]:
        inside.set()
        leave.wait(30)
        yield from ()

    stuck = threading.Thread(target=scheduler.finish_requests, args=(nobody(), RequestStatus.FINISHED_ABORTED))
    with Probe(engine, tmp_path / "run"):
        assert answers(engine) == bare
        stuck.start()
        assert inside.wait(30)
    leave.set()
    stuck.join()
    run = load(tmp_path / "run")
    assert run.status == "complete"
    assert run.requests.num_rows == 12
    assert run.notes == [
        "the counters were not compared with the scheduler at the end (another thread was in the scheduler for 0.2 s)"
    ]


def test_an_engine_is_free_again_although_forgetting_the_recording_failed(
    engine: Any, bare: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn(WeakKeyDictionary[Any, Any]):
        def __delitem__(self, key: Any) -> None:
            raise RuntimeError("planted")

    monkeypatch.setattr(recording_module, "_attached", Stubborn())
    with pytest.warns(IncompleteRecordingWarning, match="planted"), Probe(engine, tmp_path / "run") as first:
        answers(engine)
    with pytest.warns(IncompleteRecordingWarning, match="planted"), Probe(engine, tmp_path / "next") as following:
        assert answers(engine) == bare
    assert first.run.requests.num_rows == following.run.requests.num_rows == 12


# ---- a worker that does not answer ------------------------------------------------------------------------------


def test_a_stuck_worker_is_given_up(
    engine: Any, bare: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_calls, "PATIENCE_SECONDS", 0.3, raising=False)
    executor, awake = core_of(engine).model_executor, threading.Event()
    call = executor.collective_rpc

    def stuck(method: Any, *args: Any, **kwargs: Any) -> Any:
        if method is worker.detach:
            awake.wait(30)
        return call(method, *args, **kwargs)

    executor.collective_rpc = stuck
    silent = pytest.warns(IncompleteRecordingWarning, match="have not answered within 0.3 s")
    with silent, Probe(engine, tmp_path / "run") as given_up:
        assert answers(engine) == bare
    assert given_up.run.requests.num_rows == 12
    threading.Timer(0.2, awake.set).start()
    assert executor.collective_rpc(lambda worker: "after it") == ["after it"]
    assert executor.collective_rpc is stuck
    del executor.collective_rpc
    assert answers(engine) == bare


# ---- errors of our own ------------------------------------------------------------------------------------------

PLANTS = {
    "which vLLM this is": (vllm_versions, "check_version"),
    "finding the engine core": (hook_engine, "find_core"),
    "what the machine is": (probe, "hardware_facts"),
    "what the engine is": (hook_engine, "describe"),
    "attaching to the workers": (worker, "attach_all"),
    "detaching from the workers": (worker, "detach_all"),
    "attaching": (SchedulerHook, "__init__"),
    "detaching": (SchedulerHook, "close"),
    "putting back a method": (Patches, "undo", 3),
    "the end of the ledger": (RequestCounters, "close"),
    "the start of the sampler": (Sampler, "start"),
    "the end of the sampler": (Sampler, "stop"),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_an_error_of_our_own_reaches_nobody(
    engine: Any, bare: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: tuple[Any, ...]
) -> None:
    where, name, call = (*plant, 1)[:3]
    original, calls = getattr(where, name), 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise RuntimeError("planted")
        return original(*args, **kwargs)

    monkeypatch.setattr(where, name, failing)
    with warnings.catch_warnings(record=True) as warned, Probe(engine, tmp_path / "run") as planted:
        warnings.simplefilter("always")
        watched = answers(engine)
    assert watched == bare
    told = [str(warning.message) for warning in warned if warning.category is IncompleteRecordingWarning]
    assert len(told) == 1
    assert "planted" in told[0]
    assert "planted" in str(planted.failure)
    if (tmp_path / "run").exists():
        assert load(tmp_path / "run").status == "incomplete"


def test_streams_that_stay_behind_leave_a_complete_recording_complete(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Writer, "drop_streams", lambda self: 1 / 0)
    with Probe(engine, tmp_path / "run") as probe_of_it:
        answers(engine)
    assert "left its streams behind: ZeroDivisionError" in caplog.text
    assert probe_of_it.failure is None
    assert load(tmp_path / "run").status == "complete"
    assert load(tmp_path / "run").requests.num_rows == 12


@pytest.mark.parametrize("name", ["open", "_all_notes", "_facts", "_save_new_notes", "close"])
def test_an_error_in_the_sampler_ends_the_sampling(
    engine: Any, bare: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    original, calls = getattr(Sampler, name), 0

    def failing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("planted")
        return original(*args)

    monkeypatch.setattr(Sampler, name, failing)
    with Probe(engine, tmp_path / "run"):
        assert answers(engine) == bare
    run = load(tmp_path / "run")
    assert run.status == "complete"
    assert run.notes == ["telemetry ends early (RuntimeError: planted)"]


def test_no_thread_left(engine: Any, bare: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("engine_probe"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.warns(IncompleteRecordingWarning, match="can't start new thread"), Probe(engine, tmp_path / "run"):
        assert answers(engine) == bare
    assert load(tmp_path / "run").status == "incomplete"


def test_no_file_descriptor_left(engine: Any, bare: Answers, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(descriptor.name) for descriptor in Path("/proc/self/fd").iterdir())
    try:
        for spare in range(2, 9):
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
            out = tmp_path / str(spare)
            with warnings.catch_warnings(action="ignore"):
                with suppress(UnavailableError), Probe(engine, out):
                    assert answers(engine) == bare
                assert not out.exists() or load(out).finished
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_warning_made_an_error_does_not_replace_an_exception(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RequestCounters, "close", lambda self: 1 / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteRecordingWarning)
        with pytest.raises(ValueError, match="of the user"), Probe(engine, tmp_path / "run"):
            raise ValueError("of the user")
    assert load(tmp_path / "run").status == "incomplete"


def test_a_block_left_by_an_exception_is_a_whole_recording_that_says_so(engine: Any, tmp_path: Path) -> None:
    with suppress(ValueError), Probe(engine, tmp_path / "run"):
        answers(engine)
        raise ValueError("of the user, \udcff")
    run = load(tmp_path / "run")
    assert run.status == "complete"
    assert run.requests.num_rows == 12
    assert run.notes == [r"the `with` block was left by an exception (ValueError: of the user, \udcff)"]
