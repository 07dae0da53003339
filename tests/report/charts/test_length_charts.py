"""Figures over lengths: which points make a line, what is drawn, and what the fits are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.experiment import load_experiment
from engine_probe.recordings.sweep import load_sweep
from engine_probe.report.charts.lengths import ANSWER, E2EL, PROMPT, TPOT, TTFT, length_charts, over_lengths
from engine_probe.report.charts.model import Lines
from tests.support.sweeps.length_sweeps import OVERHEAD_MS, READ_MS, TOKEN_MS, write_length_sweep

PROMPTS = tuple(range(500, 4001, 500))
STEP_MS = 1.0  # of the simulated engine, beside its times for tokens


def swept(folder: Path) -> list[Curve]:
    return curves(load_sweep(folder).points)


def by_title(found: Sequence[Curve]) -> dict[str, Lines]:
    return {chart.title: chart for chart in length_charts(found)}


@pytest.mark.lengthy
def test_over_prompts_the_planted_overhead_and_slope_are_found(tmp_path: Path) -> None:
    found = swept(write_length_sweep(tmp_path, PROMPTS, (1,), requests=3))
    (line,) = over_lengths(found, PROMPT, TTFT)
    assert line.fit is not None
    assert not line.fit.bends
    fixed, slope = line.fit.best.coefficients
    assert fixed.low < OVERHEAD_MS + STEP_MS < fixed.high
    assert slope.low < TOKEN_MS < slope.high
    assert set(by_title(found)) == {"Time to first token by prompt length", "Prefill throughput by prompt length"}


@pytest.mark.lengthy
def test_attention_bends_the_curve(tmp_path: Path) -> None:
    (line,) = over_lengths(swept(write_length_sweep(tmp_path, PROMPTS, (1,), attention_ms=4e-6)), PROMPT, TTFT)
    assert line.fit is not None
    assert line.fit.bends
    fixed, _, square = line.fit.best.coefficients
    assert square.low < 2e-6 < square.high
    assert fixed.low < OVERHEAD_MS + STEP_MS < fixed.high


@pytest.mark.lengthy
def test_the_chart_begins_at_zero_tokens_and_has_the_largest_of_several_requests(tmp_path: Path) -> None:
    chart = by_title(swept(write_length_sweep(tmp_path, PROMPTS, (1,), requests=3, noise=0.05)))[
        "Time to first token by prompt length"
    ]
    assert chart.xs == [0, *PROMPTS]
    drawn = {series.label: series.values for series in chart.series}
    assert drawn["median"][0] is None
    assert drawn["straight line"][0] is not None
    pairs = list(zip(drawn["median"][1:], drawn["largest"][1:], strict=True))
    assert all(median <= largest for median, largest in pairs if median is not None and largest is not None)
    assert any(median < largest for median, largest in pairs if median is not None and largest is not None)


def test_of_single_requests_there_is_no_largest(tmp_path: Path) -> None:
    (chart, _) = length_charts(swept(write_length_sweep(tmp_path, PROMPTS, (1,))))
    assert [series.label for series in chart.series] == ["median", "straight line"]


@pytest.mark.lengthy
def test_over_answers_each_step_reads_what_was_generated(tmp_path: Path) -> None:
    found = swept(write_length_sweep(tmp_path, (100,), tuple(range(100, 801, 100)), noise=0.0))
    (tpot,), (whole,) = over_lengths(found, ANSWER, TPOT), over_lengths(found, ANSWER, E2EL)
    assert tpot.fit is not None
    assert tpot.fit.best.coefficients[1].value == pytest.approx(READ_MS / 2, rel=0.01)
    assert whole.fit is not None
    assert whole.fit.bends
    assert list(by_title(found)) == [
        "Time per output token by answer length",
        "Decode rate by answer length",
        "Prefill throughput by answer length",
        "End-to-end latency by answer length",
    ]
    rates = by_title(found)["Decode rate by answer length"].series[0].values
    assert rates[0] == pytest.approx(1e3 / tpot.by_length[100.0][0], rel=1e-4)


@pytest.mark.lengthy
def test_points_that_differ_in_more_than_the_length_are_lines_of_their_own(tmp_path: Path) -> None:
    settings = ({"block_size": 16}, {"block_size": 32})
    found = swept(write_length_sweep(tmp_path, PROMPTS, (1, 20), repeats=2, settings=settings))
    lines = over_lengths(found, PROMPT, TTFT)
    assert sorted(line.label for line in lines) == [
        f"block_size {block}, output_len {output}" for block in (16, 32) for output in (1, 20)
    ]
    assert all(len(repeats) == 2 for line in lines for repeats in line.by_length.values())
    chart = by_title(found)["Time to first token by prompt length"]
    assert len(chart.series) == 2 * len(lines)
    assert over_lengths(found, ANSWER, TPOT) == []  # an answer of one token has none


def test_equal_lengths_are_no_chart(tmp_path: Path) -> None:
    assert list(length_charts(swept(write_length_sweep(tmp_path, (500, 580), (1,))))) == []


@pytest.mark.lengthy
def test_a_fit_is_drawn_no_further_than_it_was_measured(tmp_path: Path) -> None:
    """Of two engines one was measured up to 2,000 tokens, the other up to 4,000."""
    for name, prompts in (("short", PROMPTS[:4]), ("long", PROMPTS)):
        write_length_sweep(tmp_path / name, prompts, (1,))
    found = load_experiment(tmp_path / "short", tmp_path / "long").curves
    chart = by_title(found)["Time to first token by prompt length"]
    ends = {
        series.label: max(x for x, value in zip(chart.xs, series.values, strict=True) if x and value is not None)
        for series in chart.series
    }
    assert ends["straight line (sweep short)"] == ends["median (sweep short)"] == 2000
    assert ends["straight line (sweep long)"] == 4000
