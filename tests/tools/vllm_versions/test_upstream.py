"""Two runs of vLLM's tests are compared test by test, and every complaint of an audit is told with its test."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from tools.upstream import __main__ as upstream

SET_BY_HAND = next(iter(upstream.SET_BY_HAND))
RECORDINGS: list[dict[str, Any]] = [
    {"test": "a", "rows": 3, "errors": [], "audit": []},
    {"test": "b", "rows": 4, "errors": ["Traceback\nKeyError: 'x'\n"], "audit": []},
    {"test": "c", "rows": 0, "errors": [], "audit": ["kv_tokens_live ended at 3, the running requests hold 2"]},
    {"test": SET_BY_HAND, "rows": 0, "errors": [], "audit": ["kv_tokens_live ended at 0"]},
]


def test_how_each_test_ended_is_read_from_the_report() -> None:
    cases = ElementTree.fromstring(
        '<testsuite><testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><error/></testcase>'
        '<testcase name="d"><skipped/></testcase></testsuite>'
    )
    assert [upstream.ending(case) for case in cases] == ["passed", "failed", "error", "skipped"]


def test_a_test_that_ends_otherwise_with_the_probe_is_named() -> None:
    changed = upstream.changed({"a": "passed", "b": "failed", "c": "passed"}, {"a": "passed", "b": "failed"})
    assert changed == ["c: passed without the probe, not run with it"]


def test_failures_of_the_probe_and_complaints_are_named() -> None:
    assert upstream.failures(RECORDINGS) == ["b: KeyError: 'x'"]
    assert list(upstream.complaints(RECORDINGS)) == ["c", SET_BY_HAND]
    assert upstream.unexplained(RECORDINGS) == ["c"]


def test_the_document_counts_both_runs() -> None:
    text = upstream.document("0.32.0", {"a": "passed"}, {"a": "failed"}, RECORDINGS, (61.0, 75.0))
    assert "| without the probe | 1 | 0 | 0 | 0 | 61 s |" in text
    assert "| with the probe | 0 | 1 | 0 | 0 | 75 s |" in text
    assert "7 steps of 4 schedulers" in text
    assert f"- {SET_BY_HAND}: kv_tokens_live ended at 0. {upstream.SET_BY_HAND[SET_BY_HAND]}" in text
