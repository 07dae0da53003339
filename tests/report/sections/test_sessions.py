"""What is said of sessions: hits against the ideal, evictions in pauses, and the times of turns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engine_probe.report.sections.sessions import sessions_section
from tests.support.recordings.agent_turns import FACTS, tables


def run(facts: Any = FACTS, **changes: Any) -> Any:
    requests, answers = tables(**changes)
    facts = {"workload": {"prompts": {"kind": "trace"}}, **facts}
    return SimpleNamespace(facts=facts, requests=requests, answers=answers)


def test_a_run_has_its_hits_its_evictions_and_a_row_for_each_turn() -> None:
    section = sessions_section([("", run())])
    words = " ".join(sentence.text for sentence in section.sentences)
    assert "43.6% of the prompt tokens were found; without limits it would be 58.2% (75.0% of the ideal)" in words
    assert "1 of 2 later turns lost history, 32 tokens that were computed again (14.5% of all prompt tokens)" in words
    assert "2 whole sessions: p50 370 ms from the first request to the last answer, of which 220 ms waiting" in words
    (turns,) = section.tables
    assert [row[0] for row in turns.rows] == ["1", "2", "3"]
    assert [row[6] for row in turns.rows] == ["-", "0", "1"]


def test_its_charts_have_a_point_for_each_turn_and_a_dot_for_each_pause() -> None:
    times, hits, pauses = sessions_section([("", run())]).charts()
    assert [each.values for each in times.series] == [[30, 10, 80]]
    assert [each.label for each in hits.series] == ["found", "without limits"]
    assert pauses.xs == [0.1, 0.2]
    assert [each.values for each in pauses.series] == [[66.667, 0]]


def test_several_points_are_rows_of_one_table() -> None:
    off = {"kv": {"block_size_tokens": 16, "prefix_caching": False}}
    section = sessions_section([("small", run()), ("off", run(off)), ("lost", None)])
    assert [row[:4] for row in section.tables[0].rows] == [
        ("small", "43.6%", "58.2%", "1 of 2"),
        ("off", "-", "-", "-"),
    ]


def test_repeats_of_a_level_are_one_row_and_one_line() -> None:
    section = sessions_section([("two", run()), ("four", run()), ("two", run())])
    assert [row[:4] for row in section.tables[0].rows] == [
        ("two", "43.6%", "58.2%", "2 of 4"),
        ("four", "43.6%", "58.2%", "1 of 2"),
    ]
    times, *_ = section.charts()
    assert [(each.label, each.shade) for each in times.series] == [("two", 0.0), ("four", 1.0)]
    assert [sentence.text for sentence in section.sentences] == ["History was evicted in pauses at: two; four."]


def test_a_run_of_single_requests_has_no_such_section() -> None:
    assert sessions_section([("", run(answers=[("e0", "0"), ("e1", "1")]))]).title == ""


def test_random_prompts_are_never_looked_through() -> None:
    """Their answers may be a large table."""
    assert sessions_section([("", SimpleNamespace(facts={"workload": {"prompts": None}}))]).title == ""
