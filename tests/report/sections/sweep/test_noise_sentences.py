"""What repeats of the levels cannot show is said, and what all repeats of a level share."""

from __future__ import annotations

from engine_probe.analysis.curve.saturation import Level, Saturation, saturation
from engine_probe.report.sections.sweep.verdict import noise_sentences, operating_verdict

RATES = {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0, 16: 80.0, 32: 80.0, 64: 80.0}


def curve(rates: dict[int, float], scatter: float = 0.01, in_rounds: bool = True) -> Saturation:
    pairs = {load: (rate * (1 - scatter), rate * (1 + scatter)) for load, rate in rates.items()}
    return saturation([Level(load, rates[load], load, 0.5, False, pairs[load], in_rounds) for load in rates])


def test_repeats_one_after_another_are_named_and_have_no_interval() -> None:
    found = curve(RATES, in_rounds=False)
    (sentence,) = noise_sentences(found)
    assert "one after another" in sentence
    assert "interleave = true" in sentence
    assert not list(operating_verdict(found, "concurrent requests"))
    assert found.best is not None
    assert found.interval(found.best).reach is None


def test_what_repeats_share_is_told_with_its_size() -> None:
    shifts = (1.1, 0.92, 1.05, 0.9, 1.09, 0.93, 1.1)
    shared = curve({load: rate * shift for (load, rate), shift in zip(RATES.items(), shifts, strict=True)})
    (sentence,) = noise_sentences(shared)
    assert shared.noise is not None
    assert f"{shared.noise.shared_deviation:.1%}, which all repeats of a level share" in sentence
    assert list(noise_sentences(curve(RATES))) == []


def test_four_levels_are_too_few_to_show_what_repeats_share() -> None:
    (sentence,) = noise_sentences(curve(dict(list(RATES.items())[:4])))
    assert "4 levels are too few" in sentence


def test_single_runs_are_named() -> None:
    (sentence,) = noise_sentences(saturation([Level(load, rate, load, 0.5, False) for load, rate in RATES.items()]))
    assert "measured by one run" in sentence
