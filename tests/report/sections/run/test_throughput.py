"""Throughput that was still changing, or that warm-up and end have moved, is marked where it stands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.analysis.run.after_warm_up import AfterWarmUp
from engine_probe.analysis.run.near_peak import NearPeak
from engine_probe.analysis.run.summary import UncountedCost
from engine_probe.report.sections.run.latencies import changing_words, interval_words, near_peak_line, probe_cost_line
from engine_probe.report.sections.run.verdict import headlines, throughput_mark, time_words
from engine_probe.report.sections.sweep.levels import load_cell
from tests.support.values import has_values

S = 1_000_000_000
STABLE, UNSTABLE = NearPeak(10.0, 1000.0, 990.0, 0.01), NearPeak(10.0, 12.4, 3.0, 2.5)


def later(changing: bool = False, left: float | None = 0.0, half_width: float | None = 20.0) -> AfterWarmUp:
    """1,000 tokens/s in ten seconds after the warm-up."""
    return AfterWarmUp(0, 10 * S, 1.0, 100, 1000.0, half_width, changing, left, 10.0)


def summary(whole_run: float, part: AfterWarmUp | None, peak: NearPeak | None = STABLE) -> Any:
    return SimpleNamespace(output_tokens_per_s=whole_run, after_warm_up=part, near_peak=peak)


@pytest.mark.parametrize(
    ("found", "mark"),
    [
        (summary(1000, later()), ""),
        (summary(1000, None), ""),
        (summary(1000, later(), UNSTABLE), "unstable"),
        (summary(1000, later(changing=True), UNSTABLE), "still changing"),
        (summary(840, later()), "with warm-up and end"),
        (summary(960, later()), ""),  # less than 5 %
        (summary(840, later(half_width=200.0)), ""),  # less than chance
        (summary(840, later(half_width=None)), ""),
    ],
)
def test_the_figure_carries_its_doubt(found: Any, mark: str) -> None:
    assert throughput_mark(found) == mark


def test_the_spread_of_the_parts_stands_at_their_median_and_not_at_the_mean() -> None:
    """Tokens that come in a few bursts: the median of the parts is far below the mean."""
    line = near_peak_line(UNSTABLE)
    assert "12.4 tokens/s" in line
    assert "median of 10 equal parts 3 ± 7.5 " in line
    assert "31" not in line


@pytest.mark.parametrize(
    ("half_width", "words"),
    [
        (20.0, " ± 20.0 tokens/s"),
        (1500.0, " tokens/s (of 100 arrivals; the interval is wider than the figure)"),
        (None, " tokens/s"),
    ],
)
def test_an_interval_wider_than_its_figure_is_no_figure(half_width: float | None, words: str) -> None:
    assert interval_words(later(half_width=half_width)) == words


def test_steps_that_overlap_have_no_share_above_the_whole() -> None:
    """Asynchronous scheduling: the next step is scheduled while this one executes."""
    shares = {"schedule": 0.03, "execute": 1.99, "update": 0.02, "outside": 0.0}
    told = "share of the time: schedule 3.0%, update 2.0%, gaps between steps 0.0%; steps overlap: 1.99 execute"
    assert time_words(shares) == f"{told} at the same time on average"
    one_by_one = time_words(shares | {"execute": 0.95})
    assert "execute 95.0%" in one_by_one
    assert "overlap" not in one_by_one


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (later(), ""),
        (later(True, None), "NEVER SETTLED"),
        (later(True, 120.0), "STILL FALLING: up to 120 tokens/s too high"),
        (later(True, -120.0), "STILL RISING: up to 120 tokens/s too low"),
    ],
)
def test_the_sentence_says_where_the_throughput_leads(part: AfterWarmUp, words: str) -> None:
    said = changing_words(part)
    assert words in said
    assert bool(said) == part.changing


def test_a_level_with_a_repeat_that_was_still_changing_is_marked() -> None:
    parts = (later(), later(True), None)
    points: list[Any] = [SimpleNamespace(load=8, summary=summary(1000, part)) for part in parts]
    settled, changing, burst = points
    assert (load_cell([settled, burst], " users").text, load_cell([settled, burst], " users").below) == ("8 users", "")
    assert load_cell([settled, changing], "").below == "still changing"


def test_the_cost_of_the_probe_is_given_in_all_where_the_rest_was_measured() -> None:
    own: Any = SimpleNamespace(probe_share=0.0004, probe_median_ns=2000.0, probe_uncounted=None)
    assert has_values(probe_cost_line(own), "0.04%")
    assert "is not known" in probe_cost_line(own)
    own.probe_uncounted = UncountedCost(32, 5000.0, 1000.0, 0.0005, 0.0001)
    line = probe_cost_line(own)
    assert "5.0 ± 1.0 µs per step" in line
    assert line.endswith("0.09% ± 0.01%.")


@pytest.mark.parametrize(
    ("sequences", "words"), [(3, "3 requests answered."), (9, "3 requests answered (9 sequences,")]
)
def test_requests_of_several_sequences_are_not_taken_for_more_requests(sequences: int, words: str) -> None:
    run: Any = SimpleNamespace(
        output_tokens_per_s=10.0,
        seconds=6.0,
        output_tokens=60,
        requests_answered=3,
        sequences_answered=sequences,
        requests_other={},
        success=None,
        mean_running=1.0,
        peak_running=9,
        peak_waiting=0,
        mean_kv_share=0.1,
        peak_kv_share=0.2,
        goodput=None,
    )
    assert words in next(headlines(run)).text
