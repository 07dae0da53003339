"""The turns of sessions from a run's tables: what an ideal cache would have held, and what was evicted in pauses."""

from __future__ import annotations

import pytest

from tests.support.recordings.agent_turns import ANSWERS, FACTS, MS, found


def test_the_ideal_of_a_later_turn_is_the_history_in_whole_blocks_without_the_last_token() -> None:
    whole = found()
    assert [(turn.number, turn.ideal_tokens, turn.cached_tokens) for turn in whole.sessions[0].turns] == [
        (0, 0, 0),
        (1, 48, 48),
        (2, 48, 16),
    ]
    assert [turn.lost_tokens for turn in whole.evicted] == [32]
    assert whole.hits.prompt_tokens == 220
    assert whole.hits.share == pytest.approx(96 / 220)
    assert whole.hits.ideal_share == pytest.approx(128 / 220)
    assert whole.hits.of_ideal == pytest.approx(0.75)


def test_pauses_and_the_time_of_a_session_are_measured_from_its_own_requests() -> None:
    first = found().sessions[0]
    assert [turn.pause_ns for turn in first.turns] == [None, 200 * MS, 100 * MS]
    assert first.seconds == pytest.approx(0.7)
    assert first.paused_seconds == pytest.approx(0.3)
    assert [turn.ttft_ns for turn in found().by_number[0]] == [50 * MS, 10 * MS]


def test_without_a_prefix_cache_there_is_no_ideal() -> None:
    off = found({"kv": {"block_size_tokens": 16, "prefix_caching": False}})
    assert off.hits is None
    assert off.evicted == []


def test_a_recording_without_the_ideal_of_first_turns_has_no_share_of_it_but_its_evictions() -> None:
    old = found({"kv": FACTS["kv"]})
    assert old.hits is None
    assert [turn.lost_tokens for turn in old.evicted] == [32]


def test_single_requests_are_no_sessions_and_unfinished_ones_are_counted() -> None:
    assert found(answers=[("e0", "0"), ("e1", "1")]) is None
    some = found(answers=[*ANSWERS, ("gone", "2.0")])
    assert (len(some.sessions), some.not_known) == (2, 1)
    assert not found(outcome="stopped").sessions[0].whole


def test_requests_that_only_hold_the_load_take_no_part() -> None:
    assert len(found(answers=[*ANSWERS[:2], ("e2", "further-2.0")]).sessions) == 2
