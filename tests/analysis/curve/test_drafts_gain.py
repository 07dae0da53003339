"""What drafts gain over the load, from curves with and without them that are alike otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.analysis.curve.drafts_gain import drafts_gain
from engine_probe.analysis.curve.raised_limits import ChangedThroughput, MeasuredCurve
from engine_probe.report.sections.sweep.speculation import gain_section

NGRAM = {"method": "ngram", "num_speculative_tokens": 3}


def curve(settings: dict[str, Any], drafts: bool, *rates: tuple[float, float], unit: str = "requests") -> MeasuredCurve:
    figures: list[Any] = [
        SimpleNamespace(load=load, speculation=drafts or None, summary=SimpleNamespace(output_tokens_per_s=rate))
        for load, rate in rates
    ]
    return MeasuredCurve(settings, unit, figures)


NONE = dict.fromkeys(NGRAM)


def test_each_load_that_both_curves_have_has_its_gain() -> None:
    plain = curve(NONE, False, (1, 100), (8, 400), (32, 800))
    gains = drafts_gain([plain, curve(NGRAM, True, (1, 150), (8, 400), (16, 500))])
    assert gains == {
        "method ngram, num_speculative_tokens 3": [
            ChangedThroughput({}, 1, "requests", (100,), (150,)),
            ChangedThroughput({}, 8, "requests", (400,), (400,)),
        ]
    }


def test_only_curves_that_are_alike_otherwise_are_compared() -> None:
    curves = [
        curve({**NONE, "block_size": 16}, False, (1, 100)),
        curve({**NONE, "block_size": 32}, False, (1, 200)),
        curve({**NGRAM, "block_size": 32}, True, (1, 220)),
        curve({**NGRAM, "block_size": 64}, True, (1, 999)),
        curve({**NGRAM, "block_size": 16}, True, (1, 999), unit="users"),
    ]
    (((effect,),),) = (tuple(drafts_gain(curves).values()),)
    assert (effect.others, effect.relative) == ({"block_size": 32}, pytest.approx(0.1))


def test_a_sweep_without_drafts_or_with_drafts_alone_has_no_gain() -> None:
    assert drafts_gain([curve({}, False, (1, 100))]) == {}
    assert drafts_gain([curve({}, True, (1, 100))]) == {}


def test_the_section_tells_gains_from_losses_by_their_intervals() -> None:
    effects = [
        ChangedThroughput({}, 1, "concurrency", (100, 101, 99), (150, 151, 149)),
        ChangedThroughput({}, 8, "concurrency", (400, 440, 360), (410, 450, 370)),
        ChangedThroughput({}, 32, "concurrency", (800, 801, 799), (600, 601, 599)),
    ]
    section = gain_section("method ngram", effects)
    gained, lost, unsure = (sentence.text for sentence in section.sentences)
    assert gained.startswith("Drafts gained throughput: 50% at ")
    assert lost.startswith("Drafts lost throughput: 25% at ")
    assert unsure.startswith("No difference is certain at ")
    assert [row[0] for row in section.tables[0].rows] == ["1", "8", "32"]


def test_without_repeats_chance_is_said_to_be_unknown() -> None:
    section = gain_section("method ngram", [ChangedThroughput({}, 1, "concurrency", (100,), (150,))])
    (words,) = section.sentences
    assert words.text == "Without repeats it is not known whether drafts gain or lose: the table may show chance."
