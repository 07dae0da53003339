"""The success rate of a run, with counts small enough for the head."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.compare.changes import changes
from engine_probe.analysis.compare.gates import read_gate
from engine_probe.analysis.run.goodput import goodput
from engine_probe.analysis.run.slo import Slo, read_goodput
from engine_probe.analysis.run.success import Success, success
from engine_probe.analysis.run.summary import Summary, summarise
from engine_probe.errors import InputError
from engine_probe.record.schema import NO_ANSWERS
from tests.support.recordings.small_tables import table

FACTS: dict[str, Any] = {"kv": {"blocks": 100, "prefix_caching": False}, "workload": {"hold": True}}
MS = 1_000_000
Make = Callable[..., pa.Table]


def answers(*outcomes: str) -> pa.Table:
    rows = [{"request_id": f"r{n}", "prompt_id": str(n), "outcome": each} for n, each in enumerate(outcomes)]
    return table("answers", rows)


def ended(*reasons: str) -> pa.Table:
    rows = [
        {
            "request_id": f"r{n}",
            "finish_reason": each,
            "arrival_ns": 0,
            "first_token_ns": MS,
            "last_token_ns": MS,
            "finished_ns": MS,
        }
        for n, each in enumerate(reasons)
    ]
    return table("requests", rows)


def test_what_was_in_flight_at_the_end_and_what_only_held_the_load_counts_in_neither() -> None:
    further = {"request_id": "r9", "prompt_id": "further-9", "outcome": "deadline"}
    outcomes = pa.concat_tables(
        [answers("answered", "deadline", "failed", "stopped", "answered"), table("answers", [further])]
    )
    found = success(FACTS, ended(), outcomes)
    assert found == Success(2, 1, 1)
    assert (found.asked, found.rate) == (4, 0.5)
    assert found.words == "50.0% of 4 answered (1 past their deadline, 1 failed)"


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (("stop", "length", "error"), Success(2, 0, 1)),
        (("stop", "length", "abort"), None),  # its client gave up, or the run ended
        ((), None),
    ],
)
def test_of_another_programs_requests_the_finish_reasons_tell_it_unless_one_was_aborted(
    reasons: tuple[str, ...], expected: Success | None
) -> None:
    assert success({}, ended(*reasons), NO_ANSWERS) == expected


def test_a_request_past_its_deadline_meets_no_limit_and_one_that_the_end_aborted_is_not_judged() -> None:
    rows, outcomes = ended("stop", "abort", "abort"), answers("answered", "deadline", "stopped")
    found = goodput(rows, 1.0, Slo(ttft_ms=10), answers=outcomes)
    assert (found.kept, found.judged, found.undecided) == (1, 2, 1)
    assert goodput(rows, 1.0, Slo(ttft_ms=10)).judged == 1


@pytest.mark.parametrize(
    ("percent", "strain", "met"), [(80.0, 1.0, True), (90.0, 2.0, False), (100.0, math.inf, False), (60.0, 0.5, True)]
)
def test_a_bound_of_the_success_rate_is_one_more_limit(percent: float, strain: float, met: bool) -> None:
    """Two of ten failed, which is as many as 80 % allow."""
    rows, outcomes = ended(*["stop"] * 8, "abort", "abort"), answers(*["answered"] * 8, "deadline", "deadline")
    found = goodput(rows, 1.0, Slo(success_percent=percent, percentile=50), answers=outcomes)
    assert (found.success_strain, found.met) == (pytest.approx(strain), met)
    assert found.worst_strain == pytest.approx(strain)


def test_the_bound_as_an_option() -> None:
    found = read_goodput(["ttft:200", "success:99"])
    assert found == Slo(ttft_ms=200, success_percent=99)
    assert (found.words, str(found)) == ("TTFT <= 200 ms and success rate >= 99%", "ttft:200 success:99")
    with pytest.raises(InputError, match="success:101: 101 is not a limit: give a percentage up to 100, as success:99"):
        read_goodput(["success:101"])


@pytest.mark.parametrize(
    ("text", "counts", "answer"),
    [
        ("success_rate < 95%", (50, 100), "broken"),
        ("success_rate < 95%", (95, 100), "open"),
        ("success_rate < 95%", (20, 20), "open"),  # 84 % to 100 %
        ("success_rate < 95%", (200, 200), "holds"),
        ("success_rate < 100%", (20, 20), "holds"),
        ("success_rate < 100%", (19, 20), "broken"),
    ],
)
def test_a_gate_of_the_rate_itself(text: str, counts: tuple[int, int], answer: str) -> None:
    answered, asked = counts
    gate = read_gate(text)
    assert gate.is_level
    assert gate.judge_rate(Success(answered, 0, asked - answered)).answer == answer


def test_a_sign_bounds_the_change_of_the_rate() -> None:
    assert not read_gate("success_rate < -5%").is_level
    with pytest.raises(InputError, match="above 0% and at most 100%"):
        read_gate("success_rate < 120%")


def test_compare_is_silent_where_nothing_failed(iterations: Make) -> None:
    def run(*outcomes: str) -> Summary:
        rows = ended(*["stop"] * len(outcomes))
        return summarise(FACTS, "complete", [], iterations(4, output_tokens=[1] * 4), rows, answers=answers(*outcomes))

    def names(before: Summary, after: Summary) -> set[str]:
        return {change.metric.name for change in changes([before], [after])}

    whole, broken = run("answered", "answered"), run("answered", "deadline")
    assert "success_rate" not in names(whole, whole)
    assert "success_rate" in names(whole, broken)
