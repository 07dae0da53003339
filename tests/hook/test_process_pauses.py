"""Pauses are noted while the hook is attached, and its callbacks are gone afterwards."""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.hook import process_pauses
from engine_probe.hook.process_pauses import PauseHook, collection_callback
from engine_probe.record.host_events import MOST_WAITING_ROWS, note_busy, note_event

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.ns = 100 * MS

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(process_pauses, "now", clock)
    return clock


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    handler = SimpleNamespace(start_callbacks=[], end_callbacks=[])
    monkeypatch.setitem(sys.modules, "torch._dynamo.callback", SimpleNamespace(callback_handler=handler))
    return handler


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = list(gc.callbacks)
    yield
    assert gc.callbacks == before


def collection(clock: Clock, generation: int, duration_ns: int) -> None:
    """Call the callbacks as the collector does."""
    for callback in list(gc.callbacks):
        callback("start", {"generation": generation, "collected": 0, "uncollectable": 0})
    clock.ns += duration_ns
    for callback in list(gc.callbacks):
        callback("stop", {"generation": generation, "collected": 7, "uncollectable": 0})


def test_a_collection_is_noted_with_its_generation(clock: Clock) -> None:
    events: deque[tuple[Any, ...]] = deque()
    gc.disable()  # none but those of the test
    try:
        hook = PauseHook(events)
        collection(clock, 2, 30 * MS)
        collection(clock, 0, MS // 10)
        hook.detach()
        collection(clock, 2, 30 * MS)
    finally:
        gc.enable()
    assert list(events) == [(100 * MS, 30 * MS, "garbage collection", 30 * MS, 2)]


def test_a_collection_that_was_under_way_is_not_noted(clock: Clock) -> None:
    events: deque[tuple[Any, ...]] = deque()
    collection_callback(events)("stop", {"generation": 2})
    assert not events


def test_a_compilation_is_noted(clock: Clock, compilations: SimpleNamespace) -> None:
    events: deque[tuple[Any, ...]] = deque()
    hook = PauseHook(events)
    for callback in compilations.start_callbacks:
        callback("DYNAMO")
    clock.ns += 900 * MS
    for callback in compilations.end_callbacks:
        callback("DYNAMO")
    hook.detach()
    hook.detach()
    assert [event for event in events if event[2] == "compilation"] == [
        (100 * MS, 900 * MS, "compilation", 900 * MS, None)
    ]
    assert compilations.start_callbacks == compilations.end_callbacks == []


def test_a_failure_of_the_probes_own_work_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        note_busy(deque(), "probe's writer", lambda: 1 / 0)


def test_events_that_nobody_takes_do_not_fill_the_memory() -> None:
    events: deque[tuple[Any, ...]] = deque()
    for _ in range(MOST_WAITING_ROWS + 5):
        note_event(events, 0, MS, "garbage collection", MS)
    assert len(events) == MOST_WAITING_ROWS
