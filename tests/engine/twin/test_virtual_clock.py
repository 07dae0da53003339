from __future__ import annotations

import sys
import threading
import time
import types

import pytest

from engine_probe.engine.twin.virtual_clock import START_NS, VirtualClock


def test_it_moves_forwards_only() -> None:
    clock = VirtualClock()
    clock.advance_to(START_NS + 50)
    clock.advance_to(START_NS + 20)
    assert clock.now_ns() == START_NS + 50
    clock.sleep(2.5)
    assert clock.now_ns() == START_NS + 50 + 2_500_000_000
    clock.sleep(0)
    assert clock.now_ns() == START_NS + 51 + 2_500_000_000


def test_the_process_reads_it_inside_the_block_alone() -> None:
    real = (time.monotonic_ns, time.monotonic, time.time_ns, time.time, time.sleep)
    with VirtualClock(wall_ns=5_000_000_000).installed() as clock:
        time.sleep(3600)
        assert time.monotonic_ns() == clock.now_ns() == START_NS + 3600 * 10**9
        assert time.monotonic() == 3601.0
        assert time.time_ns() == 3_605_000_000_000
        assert time.time() == pytest.approx(3605.0, abs=1e-6)
        assert time.time() < 3605.0  # a request that arrives now does not arrive later
    assert (time.monotonic_ns, time.monotonic, time.time_ns, time.time, time.sleep) == real


def test_modules_that_imported_the_functions_by_name_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    module, stranger = types.ModuleType("engine_probe.follower"), types.ModuleType("stranger")
    for each in (module, stranger):
        monkeypatch.setattr(each, "now", time.monotonic_ns, raising=False)
        monkeypatch.setitem(sys.modules, each.__name__, each)
    with VirtualClock().installed():
        assert module.now() == START_NS
        assert stranger.now() != START_NS
        late = types.ModuleType("engine_probe.late")
        monkeypatch.setattr(late, "now", time.monotonic_ns, raising=False)
        monkeypatch.setitem(sys.modules, late.__name__, late)
    assert module.now is time.monotonic_ns
    assert late.now is time.monotonic_ns


def test_other_threads_sleep_in_real_time() -> None:
    with VirtualClock().installed() as clock:
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        thread.join()
        assert clock.now_ns() == START_NS


def test_it_is_put_back_after_a_failure() -> None:
    real = time.monotonic_ns
    with pytest.raises(KeyError), VirtualClock().installed():
        raise KeyError
    assert time.monotonic_ns is real
