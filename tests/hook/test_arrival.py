"""The arrival of a request on the monotonic clock, although vLLM gives it by the wall clock."""

from __future__ import annotations

import pytest

from engine_probe.hook import request_state

SECOND = 1_000_000_000
WALL = 1_700_000_000  # seconds since 1970


def read_clocks(monkeypatch: pytest.MonkeyPatch, monotonic_s: float, wall_s: float) -> None:
    monkeypatch.setattr(request_state, "monotonic_ns", lambda: int(monotonic_s * SECOND))
    monkeypatch.setattr(request_state, "time_ns", lambda: int(wall_s * SECOND))


def test_an_arrival_is_as_long_ago_as_the_wall_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    read_clocks(monkeypatch, 100, WALL)
    assert request_state.monotonic_arrival_ns(WALL - 0.5, 100 * SECOND) == 99.5 * SECOND


def test_setting_the_wall_clock_moves_no_later_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour back, in a server that runs for days: the next request still came half a second ago."""
    read_clocks(monkeypatch, 100, WALL - 3600)
    assert request_state.monotonic_arrival_ns(WALL - 3600.5, 100 * SECOND) == 99.5 * SECOND


def test_an_arrival_after_it_was_queued_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was set back in between, or is that of another machine."""
    read_clocks(monkeypatch, 100, WALL - 3600)
    assert request_state.monotonic_arrival_ns(WALL, 100 * SECOND) is None


def test_a_request_from_before_the_probe_has_its_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    read_clocks(monkeypatch, 100, WALL)
    assert request_state.monotonic_arrival_ns(WALL - 7, None) == 93 * SECOND
