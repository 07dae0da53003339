"""A run of 40 steps of 10 ms: every figure of its summary can be worked out in one's head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.run.summary import Summary, summarise

MS = 1_000_000
Make = Callable[..., pa.Table]
FACTS: dict[str, Any] = {"kv": {"blocks": 100, "prefix_caching": False}}


def answered(**more: Any) -> dict[str, Any]:
    return {
        "arrival_ns": 0,
        "queued_ns": 2 * MS,
        "first_scheduled_ns": 10 * MS,
        "first_token_ns": 20 * MS,
        "last_token_ns": 400 * MS,
        "prompt_tokens": 60,
        "output_tokens": 39,
        "finish_reason": "length",
        "run_starts": [1],
        "run_lengths": [39],
        **more,
    }


@pytest.fixture
def summary(iterations: Make, requests: Make) -> Summary:
    steps = iterations(
        40,
        running_requests=[2] * 40,
        output_tokens=[2] * 40,
        scheduled_tokens=[10] * 40,
        recomputed_tokens=[4] + [0] * 39,
        preempted_requests=[1] + [0] * 39,
        kv_blocks_scheduled=[50] * 20 + [100] * 20,
        probe_ns=[1000] * 39 + [5000],
    )
    rows = requests(answered(), answered(), answered(finish_reason="abort", output_tokens=2, first_token_ns=900 * MS))
    return summarise(FACTS, "complete", [], steps, rows)


def test_throughput_counts_every_token_and_only_answered_requests(summary: Summary) -> None:
    assert summary.seconds == pytest.approx(0.4)
    assert summary.output_tokens_per_s == pytest.approx(200)
    assert summary.total_tokens_per_s == pytest.approx(2 * (60 + 39) / 0.4)
    assert summary.requests_per_s == pytest.approx(5)
    assert (summary.requests_answered, summary.requests_other) == (2, {"abort": 1})


def test_the_largest_latency_is_that_of_an_answered_request(iterations: Make, requests: Make) -> None:
    rows = requests(
        answered(), answered(first_token_ns=120 * MS), answered(finish_reason="abort", first_token_ns=900 * MS)
    )
    found = summarise(FACTS, "complete", [], iterations(40, output_tokens=[2] * 40), rows)
    assert (found.ttft.p50_ms, found.ttft.largest_ms) == (70.0, 120.0)
    nobody = summarise(
        FACTS, "complete", [], iterations(40, output_tokens=[2] * 40), requests(answered(finish_reason="abort"))
    )
    assert nobody.ttft.largest_ms is None


def test_prefill_and_decode_rates_are_those_of_the_median_request(iterations: Make, requests: Make) -> None:
    """60 tokens in 10 ms, 60 of which 30 were cached in 10 ms, 60 in 30 ms; and 38 tokens in 380 ms."""
    rows = requests(answered(), answered(cached_tokens=30), answered(first_token_ns=40 * MS, last_token_ns=420 * MS))
    found = summarise(FACTS, "complete", [], iterations(40, output_tokens=[2] * 40), rows)
    assert found.prefill_tokens_per_s == pytest.approx(3000)
    assert found.tokens_per_s_per_user == pytest.approx(100)
    one_token = requests(answered(output_tokens=1, first_scheduled_ns=None))
    without = summarise(FACTS, "complete", [], iterations(40, output_tokens=[1] * 40), one_token)
    assert without.prefill_tokens_per_s is None
    assert without.tokens_per_s_per_user is None


def test_latencies_leave_out_what_was_aborted(summary: Summary) -> None:
    latency = {figures.name: figures for figures in summary.latencies}
    assert latency["TTFT"].count == 2
    assert latency["TTFT"].mean_ns == 20 * MS
    assert latency["queue"].mean_ns == 8 * MS
    assert latency["prefill"].mean_ns == 10 * MS
    assert latency["decode"].mean_ns == 380 * MS
    assert latency["TPOT"].mean_ns == 10 * MS
    assert latency["ITL"].count == 76
    assert latency["ITL"].percentiles_ns == {50: 10 * MS, 90: 10 * MS, 99: None}
    assert latency["E2EL"].percentiles_ns[99] is None


def test_latencies_go_by_their_names_in_milliseconds(summary: Summary) -> None:
    assert (summary.ttft.count, summary.ttft.p50_ms, summary.ttft.mean_ms, summary.ttft.p99_ms) == (2, 20, 20, None)
    assert (summary.itl.p90_ms, summary.queue.p50_ms, summary.prefill.p50_ms, summary.decode.p50_ms) == (10, 8, 10, 380)
    assert (summary.tpot.p50_ms, summary.e2el.p50_ms) == (10, 400)


def test_a_misspelt_name_names_the_nearest(summary: Summary) -> None:
    with pytest.raises(AttributeError, match="Summary has no 'e2e': did you mean e2el"):
        _ = summary.e2e  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="LatencyFigures has no 'p95_ms': did you mean p9"):
        _ = summary.ttft.p95_ms  # type: ignore[attr-defined]


def test_where_the_time_went_and_how_full_it_was(summary: Summary) -> None:
    assert summary.shares == pytest.approx({"schedule": 0.1, "execute": 0.8, "update": 0.1, "outside": 0.0})
    assert summary.step.mean_ms == 10
    assert (summary.mean_kv_share, summary.peak_kv_share) == (0.75, 1.0)
    assert summary.recomputed_share == pytest.approx(0.01)


def test_time_without_a_step_counts_as_little_did(iterations: Make, requests: Make) -> None:
    """Little's law: four requests, one each 25 ms, that take 16 ms of a step each, are 0.64 at a time."""
    steps = iterations(
        4,
        start_ns=[25 * number * MS for number in range(4)],
        execute_ns=[14 * MS] * 4,
        gap_ns=[9 * MS] * 4,
        running_requests=[1] * 4,
        finished_requests=[1] * 4,
        kv_blocks_scheduled=[50] * 4,
        kv_blocks_updated=[10] * 4,
    )
    found = summarise(FACTS, "complete", [], steps, requests())
    whole = 3 * 25 + 16  # ms
    assert found.mean_running == pytest.approx(4 * 16 / whole)
    assert found.mean_kv_share == pytest.approx((50 * 4 * 16 + 10 * 3 * 9) / whole / 100)


def test_requests_that_wait_between_steps_go_on_running(iterations: Make, requests: Make) -> None:
    """Two run and one of them is finished by the first step; the other waits 90 ms for the second."""
    steps = iterations(2, start_ns=[0, 100 * MS], running_requests=[2, 1], finished_requests=[1, 1])
    assert summarise(FACTS, "complete", [], steps, requests()).mean_running == pytest.approx((2 * 10 + 90 + 10) / 110)


def test_overlapping_steps_count_once(iterations: Make, requests: Make) -> None:
    steps = iterations(2, start_ns=[0, 5 * MS], running_requests=[2, 4], finished_requests=[0, 0])
    assert summarise(FACTS, "complete", [], steps, requests()).mean_running == pytest.approx((2 * 5 + 4 * 10) / 15)


def test_it_says_what_watching_cost(summary: Summary) -> None:
    assert summary.probe_median_ns == 1000
    assert summary.probe_share == pytest.approx(44_000 / (400 * MS))


def sequences(request_id: str, reasons: list[str], arrival: int = 0) -> list[dict[str, Any]]:
    """Return the rows of a request with a prompt of 100 tokens and an answer of 20 in each of its sequences."""
    return [
        {
            "request_id": f"{index}_{request_id}-0a1b2c3d" if len(reasons) > 1 else request_id,
            "arrival_ns": arrival * MS,
            "first_token_ns": (arrival + 20) * MS,
            "last_token_ns": (arrival + 200) * MS,
            "finished_ns": (arrival + 200) * MS,
            "prompt_tokens": 100,
            "output_tokens": 20,
            "finish_reason": reason,
        }
        for index, reason in enumerate(reasons)
    ]


def test_the_sequences_of_a_request_are_one_request(iterations: Make, requests: Make) -> None:
    """Two of three sequences, one of a single one, and one of three of which two were aborted; 0.4 s."""
    rows = [
        *(row for name in ("a", "b") for row in sequences(name, ["length"] * 3)),
        *sequences("c", ["stop"]),
        *sequences("d", ["length", "abort", "abort"]),
    ]
    found = summarise(FACTS, "complete", [], iterations(40), requests(*rows))
    assert (found.requests_answered, found.sequences_answered) == (3, 8)
    assert found.requests_other == {"abort": 1}
    assert found.requests_per_s == pytest.approx(3 / 0.4)
    assert (found.prompt_tokens, found.answer_tokens) == (4 * 100, 8 * 20)
    assert (found.tokens_per_prompt, found.tokens_per_answer) == (100.0, 20.0)
    assert found.ttft.count == 8


def test_requests_whose_names_look_like_those_of_sequences_are_their_own(iterations: Make, requests: Make) -> None:
    """vLLM ends the id of each request with eight random digits of its own."""
    names = ("0_b", "1_b", "0_c-0a1b2c3d", "1_c-4e5f6a7b")
    rows = [{**row, "request_id": name} for name in names for row in sequences("", ["stop"])]
    assert summarise(FACTS, "complete", [], iterations(40), requests(*rows)).requests_answered == 4


def uncounted(*measured: tuple[int, float, float]) -> dict[str, Any]:
    rows = [{"running": running, "ns": ns, "half_width_ns": half} for running, ns, half in measured]
    return {**FACTS, "hardware": {"probe_uncounted": rows}}


def test_what_its_clock_does_not_count_is_that_of_the_nearest_load(iterations: Make, requests: Make) -> None:
    """Ten running in 40 steps of 10 ms: 5,000 ns more per step are 0.05 % of the time."""
    steps, facts = iterations(40, running_requests=[10] * 40), uncounted((1, 2000, 400), (32, 5000, 1000))
    found = summarise(facts, "complete", [], steps, requests()).probe_uncounted
    assert found is not None
    assert (found.running, found.ns, found.half_width_ns) == (32, 5000, 1000)
    assert (found.share, found.half_width) == (pytest.approx(0.0005), pytest.approx(0.0001))


@pytest.mark.parametrize(
    "facts",
    [
        FACTS,
        uncounted(),
        uncounted((0, 1, 1)),
        {**FACTS, "hardware": []},
        {**FACTS, "hardware": {"probe_uncounted": 1}},
    ],
)
def test_a_machine_without_a_measurement_has_no_such_cost(iterations: Make, requests: Make, facts: Any) -> None:
    assert summarise(facts, "complete", [], iterations(40), requests()).probe_uncounted is None


def test_even_throughput_is_stable(summary: Summary) -> None:
    assert summary.near_peak is not None
    assert summary.near_peak.output_tokens_per_s == pytest.approx(200)
    assert not summary.near_peak.unstable


def test_throughput_that_halves_is_unstable(iterations: Make, requests: Make) -> None:
    steps = iterations(40, running_requests=[2] * 40, output_tokens=[4] * 20 + [2] * 20)
    part = summarise(FACTS, "complete", [], steps, requests()).near_peak
    assert part is not None
    assert part.unstable
    assert part.median_per_s == pytest.approx(300, rel=0.05)
    assert part.median_per_s * part.spread == pytest.approx(100, rel=0.1)


def test_a_peak_of_a_moment_is_too_short_to_judge(iterations: Make, requests: Make) -> None:
    steps = iterations(40, running_requests=[1] * 10 + [9] * 5 + [1] * 25, output_tokens=[1] * 40)
    assert summarise(FACTS, "complete", [], steps, requests()).near_peak is None


def test_requests_that_only_held_the_load_are_in_no_latency_and_none_that_was_lost(
    iterations: Make, requests: Make
) -> None:
    rows = requests(
        answered(request_id="0-a"),
        answered(request_id="further-1-a", arrival_ns=300 * MS, last_token_ns=310 * MS),
        answered(request_id="further-2-a", finish_reason="abort"),
    )
    steps = iterations(40, output_tokens=[2] * 40, scheduled_tokens=[10] * 40)
    held, as_it_is = (
        summarise(FACTS | {"workload": {"hold": hold}}, "complete", [], steps, rows) for hold in (True, False)
    )
    assert [each.count for each in held.latencies if each.name == "E2EL"] == [1]
    assert [each.count for each in as_it_is.latencies if each.name == "E2EL"] == [2]
    assert (held.requests_other, as_it_is.requests_other) == ({}, {"abort": 1})
    assert held.requests_per_s == as_it_is.requests_per_s == pytest.approx(5)


def test_a_burst_takes_from_its_first_arrival_to_its_last_answer(iterations: Make, requests: Make) -> None:
    later = answered(arrival_ns=5 * MS, last_token_ns=440 * MS)
    assert summarise(FACTS, "complete", [], iterations(44), requests(answered(), later)).makespan_seconds == 0.44


@pytest.mark.parametrize(
    "other",
    [
        {"arrival_ns": 21 * MS},  # after the first token of the other
        {"finish_reason": "abort"},
        {"arrival_ns": None},
    ],
)
def test_what_is_no_burst_or_was_not_answered_has_no_makespan(
    iterations: Make, requests: Make, other: dict[str, Any]
) -> None:
    rows = requests(answered(), answered(**other))
    assert summarise(FACTS, "complete", [], iterations(44), rows).makespan_seconds is None
