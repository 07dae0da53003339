"""What a report says of lengths and of streaming, of sweeps whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine_probe.analysis.statistics.polynomial_fit import Coefficient
from engine_probe.recordings.curve import curves
from engine_probe.recordings.experiment import load_experiment
from engine_probe.recordings.sweep import load_sweep
from engine_probe.report.document import cell_words
from engine_probe.report.experiment_report import experiment_document
from engine_probe.report.sections.sweep.lengths.growth import growth_section, overhead_words
from engine_probe.report.sections.sweep.lengths.streaming import streaming_section
from engine_probe.report.sweep_report import sweep_document
from tests.support.sweeps.length_sweeps import write_length_sweep

PROMPTS = tuple(range(500, 4001, 500))


def sentences(folder: Path, **truth: Any) -> list[str]:
    write_length_sweep(folder, PROMPTS, (1,), **truth)
    return [sentence.text for sentence in growth_section(curves(load_sweep(folder).points)).sentences]


@pytest.mark.lengthy
def test_a_line_with_an_overhead_is_told_as_one(tmp_path: Path) -> None:
    growth, overhead = sentences(tmp_path, noise=0.0)
    assert growth.startswith("TTFT is 16.0 ms + 50.0 ms per 1,000 prompt tokens: a straight line explains 100.0%")
    assert "a parabola fits no better" in growth
    assert "16.0 ms are overhead" in overhead


@pytest.mark.lengthy
def test_a_parabola_has_the_share_of_its_square(tmp_path: Path) -> None:
    """Of 4,000 tokens: 16 + 200 ms, and 32 ms of attention."""
    growth, _ = sentences(tmp_path, noise=0.0005, attention_ms=4e-6)
    assert "a parabola fits better than a straight line (p < 0.001); at 4,000 tokens its square is 13% of" in growth


def test_where_noise_hides_the_growth_none_is_told(tmp_path: Path) -> None:
    """Answers of 5 ms a token, each 0.2 to 0.8 ms longer by what it reads, on a machine whose steps vary by a fifth."""
    write_length_sweep(tmp_path, (100,), (20, 30, 40, 50), noise=0.2)
    told = [sentence.text for sentence in growth_section(curves(load_sweep(tmp_path).points)).sentences]
    (tpot,) = (text for text in told if text.startswith("TPOT"))
    assert tpot.startswith("TPOT is not shown to grow with the answer: -")


@pytest.mark.lengthy
def test_of_several_requests_the_largest_has_a_sentence_of_its_own(tmp_path: Path) -> None:
    """As a document plots it: the largest of ten requests at each length, here all alike."""
    *_, largest = sentences(tmp_path, requests=10, noise=0.0)
    assert largest.startswith("The largest TTFT at each length is 16.0 ms + 50.0 ms per 1,000 prompt tokens")


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        (Coefficient(5.0, 2.0, 8.0, 0.01), "5.00 ms are overhead"),
        (Coefficient(1.0, -2.0, 4.0, 0.4), "No overhead is shown: at zero tokens the fit gives 1.00 ms"),
        (Coefficient(-9.0, -12.0, -6.0, 1e-5), "gives -9.00 ms (95% interval -12.0 ms to -6.00 ms, p < 0.001)"),
    ],
)
def test_an_overhead_is_told_only_where_it_is_shown(fixed: Coefficient, words: str) -> None:
    assert words in overhead_words(fixed)


def test_the_growth_is_the_verdict_of_a_sweep_of_lengths(tmp_path: Path) -> None:
    write_length_sweep(tmp_path, PROMPTS, (1,))
    swept = load_sweep(tmp_path)
    document = sweep_document(swept, curves(swept.points))
    assert document.verdict.sentences[0].text.startswith("TTFT is ")
    (section,) = (each for each in document.sections if each.title.startswith("Over the lengths"))
    assert not section.sentences
    assert len(list(section.charts())) == 2


def test_streaming_is_the_first_token_against_the_whole_answer(tmp_path: Path) -> None:
    """120 tokens: 21 ms to the first, and 119 steps of 5 ms and what they read."""
    write_length_sweep(tmp_path, (100,), (120,), repeats=3, settings=({"stream": False}, {"stream": True}))
    section = streaming_section(curves(load_sweep(tmp_path).points))
    (told,) = (sentence.text for sentence in section.sentences)
    assert "reads after 21.0 ms instead of 654 ms, 31.1 times sooner" in told
    assert "no difference is shown" in told
    off, on = section.tables[0].rows
    assert [cell_words(cell) for cell in off][:2] == ["1 concurrent request", "off"]
    assert off[3] == off[4]
    assert on[2] == on[4]
    assert off[3] != on[4]


def test_of_single_runs_it_says_that_chance_is_not_ruled_out(tmp_path: Path) -> None:
    write_length_sweep(tmp_path, (100,), (120,), settings=({"stream": False}, {"stream": True}))
    (told,) = (sentence.text for sentence in streaming_section(curves(load_sweep(tmp_path).points)).sentences)
    assert "one run each does not rule out chance" in told


def test_without_both_there_is_no_section_on_streaming(tmp_path: Path) -> None:
    write_length_sweep(tmp_path, (100,), (20, 40), settings=({"stream": True},))
    assert not streaming_section(curves(load_sweep(tmp_path).points)).title


@pytest.mark.lengthy
def test_an_experiment_says_how_each_of_its_sweeps_grows_and_nothing_of_single_levels(tmp_path: Path) -> None:
    for name, attention_ms in (("line", 0.0), ("parabola", 4e-6)):
        write_length_sweep(tmp_path / name, PROMPTS, (1,), attention_ms=attention_ms)
    experiment = load_experiment(tmp_path / "line", tmp_path / "parabola")
    sentences = experiment_document(experiment, experiment.curves).verdict.sentences
    told = {sentence.label: sentence.text for sentence in sentences if sentence.text.startswith("TTFT is")}
    assert "a parabola fits no better" in told["sweep line"]
    assert "a parabola fits better" in told["sweep parabola"]
    assert not any("the only level" in sentence.text for sentence in sentences)
