"""The state of one recording, where Python ends another one in the midst of it."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.record.recorder import Recorder
from engine_probe.recording import Recording
from engine_probe.telemetry.sampler import Sampler


def recording() -> Recording:
    recorder = Recorder()
    return Recording(recorder, Sampler(recorder, False))


def ends_soon(work: Callable[[], Any]) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    return not thread.is_alive()


def test_a_probe_that_is_collected_while_its_recording_fails_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    failing, formatted = recording(), traceback.format_exception

    def collecting(error: BaseException) -> list[str]:
        monkeypatch.setattr(traceback, "format_exception", formatted)
        failing.abandon()  # as `weakref.finalize` does, on whichever thread collects garbage
        return formatted(error)

    monkeypatch.setattr(traceback, "format_exception", collecting)
    assert ends_soon(lambda: failing.fail(ValueError("planted")))
    assert "planted" in str(failing.failure)


def test_a_probe_that_is_collected_while_another_attaches_holds_up_nobody() -> None:
    dropped, attaching = recording(), recording()

    class Scheduler:
        def __hash__(self) -> int:
            dropped.abandon()
            return 1

    core = SimpleNamespace(scheduler=Scheduler())
    assert ends_soon(lambda: attaching.claim(core))
    assert attaching.core is core
    assert attaching.pauses is not None
    attaching.pauses.detach()
