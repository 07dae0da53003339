"""Stalls planted into steps of a real engine, and the causes that a recording names for them."""

from __future__ import annotations

import gc
import mmap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from engine_probe import Probe, Run
from engine_probe.record import writer

PLANTED_STEP = 40
STALL_SECONDS = 1.5  # far more than a step of the tiny engine takes on a busy machine


@pytest.fixture(scope="module")
def tokens(tiny_llm: Any) -> list[list[int]]:
    """Without any probe."""
    return generate(tiny_llm)


@pytest.fixture(autouse=True)
def no_callback_left() -> Iterator[None]:
    before = list(gc.callbacks)
    yield
    assert gc.callbacks == before


def generate(llm: Any) -> list[list[int]]:
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": [10 + (i * 7 + j) % 200 for j in range(40 + i)]} for i in range(4)]
    parameters = SamplingParams(max_tokens=80, ignore_eos=True, temperature=0)
    return [list(each.outputs[0].token_ids) for each in llm.generate(prompts, parameters, use_tqdm=False)]


def with_stall(llm: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, stall: Callable[[], object]) -> Run:
    """Record a run whose engine thread calls `stall` within one step; its tokens are those without a probe."""
    executor = llm.llm_engine.engine_core.engine_core.model_executor
    execute, calls = executor.execute_model, 0

    def stalling(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if calls == PLANTED_STEP:
            stall()
        calls += 1
        return execute(*args, **kwargs)

    with monkeypatch.context() as patch, Probe(llm, folder) as probe:
        patch.setattr(executor, "execute_model", stalling)
        generate(llm)
    return probe.run


def planted(run: Run) -> dict[str, Any]:
    (row,) = [row for row in run.stalls.to_pylist() if row["iteration"] == PLANTED_STEP]
    assert row["excess_ns"] >= 0.9e9 * STALL_SECONDS
    return row


def collect() -> None:
    cycles: list[Any] = []
    for _ in range(200_000):
        cycles.append([])
        cycles[-1].append(cycles[-1])
    until = time.monotonic() + STALL_SECONDS
    while time.monotonic() < until:
        gc.collect(2)


def test_a_garbage_collection(
    tiny_llm: Any, tokens: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = with_stall(tiny_llm, tmp_path / "run", monkeypatch, collect)
    row = planted(run)
    assert row["cause"] == "garbage collection"
    assert "generation 2" in row["detail"]
    assert row["explained_ns"] > 0.5 * row["excess_ns"]
    with Probe(tiny_llm, tmp_path / "again"):
        assert generate(tiny_llm) == tokens


def test_a_sleep_is_unknown(tiny_llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = planted(with_stall(tiny_llm, tmp_path / "run", monkeypatch, lambda: time.sleep(STALL_SECONDS)))
    assert row["cause"] == "unknown"
    assert "in execute" in row["detail"]


def touch_pages() -> None:
    until = time.thread_time() + STALL_SECONDS
    while time.thread_time() < until:
        with mmap.mmap(-1, 32 << 20) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            for page in range(0, len(memory), mmap.PAGESIZE):
                memory[page] = 1


def test_page_faults(tiny_llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = with_stall(tiny_llm, tmp_path / "run", monkeypatch, touch_pages)
    row = planted(run)
    # On a busy machine the thread waits for a processor for longer than its page faults take.
    assert row["cause"] in ("page faults", "waited for a processor", "unknown")
    faults = run.host_events.filter(pc.equal(run.host_events["kind"], "page faults"))
    during = faults.filter(pc.greater(pc.add(faults["start_ns"], faults["duration_ns"]), row["start_ns"]))
    during = during.filter(pc.less(during["start_ns"], row["start_ns"] + row["duration_ns"]))
    assert pc.sum(during["number"]).as_py() > 10_000
    assert pc.sum(during["held_ns"]).as_py() > 0.1e9


def test_a_compilation(tiny_llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM has loaded what torch tells of its compilations."""
    import torch

    def compile_for_a_while() -> None:
        until, number = time.monotonic() + STALL_SECONDS, 0
        while time.monotonic() < until:
            new = eval(f"lambda x: x * 2 + {number}")  # code that was not compiled yet
            torch.compile(new, backend="eager")(torch.ones(3))
            number += 1

    run = with_stall(tiny_llm, tmp_path / "run", monkeypatch, compile_for_a_while)
    row = planted(run)
    assert "compilation" in f"{row['cause']} {row['detail']}"
    handler = torch._dynamo.callback.callback_handler
    assert not [each for each in (*handler.start_callbacks, *handler.end_callbacks) if "PauseHook" in repr(each)]


def test_a_slow_writer(tiny_llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that once holds the interpreter's lock for more than a second, from inside a step on."""
    narrow, calls, in_step = writer.narrow, 0, threading.Event()
    executor = tiny_llm.llm_engine.engine_core.engine_core.model_executor
    execute = executor.execute_model

    def execute_model(*args: Any, **kwargs: Any) -> Any:
        in_step.set()
        return execute(*args, **kwargs)

    def slow(columns: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            in_step.clear()
            assert in_step.wait(60)
            until = time.thread_time() + STALL_SECONDS
            while time.thread_time() < until:
                sum(range(60_000_000))  # the lock is not given up within it
        return narrow(columns)

    monkeypatch.setattr(executor, "execute_model", execute_model)
    monkeypatch.setattr(writer, "narrow", slow)
    with Probe(tiny_llm, tmp_path / "run") as probe:
        for _ in range(4):
            generate(tiny_llm)
    events = probe.run.host_events
    busy = events.filter(pc.and_(pc.equal(events["kind"], "probe's writer"), pc.greater(events["held_ns"], 10**9)))
    (row,) = busy.to_pylist()
    hit = [stall for stall in probe.run.stalls.to_pylist() if "probe's writer" in f"{stall['cause']} {stall['detail']}"]
    assert sum(stall["excess_ns"] for stall in hit) > 0.2 * row["held_ns"]
    if row["duration_ns"] < 1.2 * row["held_ns"]:  # the writer had a processor to itself
        assert "probe's writer" in [stall["cause"] for stall in hit]
