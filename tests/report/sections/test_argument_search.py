"""What is said of a search: a gain that is shown, one that is not, and settings that cannot run."""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe.analysis.compare.argument_trials import ArgumentTrials, Score, Trial
from engine_probe.analysis.run.slo import Slo
from engine_probe.report.document import Section
from engine_probe.report.sections.argument_search import options, search_sections, trials_chart

SLO = Slo(ttft_ms=200)


def trial(value: float | None, repeat: int = 0, strain: float = 0.5, **setting: Any) -> Trial:
    score = None if value is None else Score(value, strain)
    return Trial("id", setting, repeat, score, "" if score else "out of memory", limited=True)


def sections(*trials: Trial) -> tuple[str, list[Section]]:
    found = list(search_sections(ArgumentTrials(trials), SLO))
    return " ".join(sentence.text for sentence in found[0].sentences), found


SHOWN = (
    trial(100, seqs=8),
    trial(150, seqs=16),
    *(trial(value, 1 + number, seqs=8) for number, value in enumerate((99, 100, 101))),
    *(trial(value, 1 + number, seqs=16) for number, value in enumerate((139, 140, 141))),
)


def test_a_gain_that_the_repeats_show_is_named_with_its_interval_and_the_options() -> None:
    words, found = sections(*SHOWN)
    assert "Best setting: seqs 16: 140.0 ± 2% output tokens/s, a gain of +40% (+37% to +43%, 95%, 3 repeats" in words
    assert "--seqs=16" in words
    assert [figure.value for figure in found[0].figures] == ["+40%", "140.0 ± 2%", "100.0 ± 2%"]


def test_settings_that_measured_what_the_best_gave_again_are_named() -> None:
    """139 is the lowest repeat of the best; a setting that misses its limits is none, nor is the baseline."""
    others = (trial(139, seqs=12), trial(138, seqs=14), trial(149, seqs=20), trial(145, strain=1.5, seqs=24))
    words, _ = sections(*SHOWN[:2], *others, *SHOWN[2:])
    assert "Trials 3 and 5 measured once at least what the best setting gave in its lowest repeat (139.0)" in words
    assert ArgumentTrials((*SHOWN[:2], *others, *SHOWN[2:])).as_good == [3, 5]
    assert "may be as good" not in sections(*SHOWN)[0]


def test_a_lucky_measurement_is_no_gain() -> None:
    again = [trial(value, 1 + number, seqs=16) for number, value in enumerate((99, 100, 102))]
    words, found = sections(*SHOWN[:5], *again)
    assert "No gain over the baseline" in words
    assert "--seqs" not in words
    assert found[0].figures[0].mark == "not shown"


def test_without_repeats_the_best_is_said_to_be_perhaps_lucky() -> None:
    words, _ = sections(trial(100, seqs=8), trial(150, seqs=16))
    assert "Best of 2 settings: seqs 16. It gave 150.0 output tokens/s, +50% against the baseline" in words
    assert "partly the luckiest" in words


def test_a_best_that_misses_its_limits_when_repeated_is_a_caution() -> None:
    words, found = sections(*SHOWN[:-1], trial(141, 3, strain=1.2, seqs=16))
    assert "The best setting in 2 of 3 repeats meets TTFT <= 200 ms" in words
    assert [sentence.tone for sentence in found[0].sentences if "near the limit" in sentence.text] == ["caution"]


def test_settings_that_cannot_run_are_rows_with_their_reason_once() -> None:
    lost, slow = [trial(None, seqs=seqs) for seqs in (64, 128)], trial(120, strain=1.5, seqs=16)
    words, found = sections(trial(100, seqs=8), lost[0], slow, lost[1])
    assert "No setting" in words
    assert "4 settings tried, 1 miss TTFT <= 200 ms, 2 could not run." in words
    trials = found[-1]
    assert [sentence.text for sentence in trials.sentences] == ["Could not run: trials 2, 4: out of memory"]
    assert len(trials.tables[0].rows) == 4


def test_the_chart_has_the_best_so_far_and_the_repeats_apart() -> None:
    series = {each.label: each.values for each in trials_chart(ArgumentTrials(SHOWN)).series}
    assert series["best so far"] == [100, 150, *[None] * 6]
    assert series["best, repeated"] == [*[None] * 5, 139, 140, 141]
    assert series["baseline"] == [100, None, 99, 100, 101, None, None, None]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"max_num_seqs": 64, "block_size": "default"}, "--max-num-seqs=64"),
        ({"enforce_eager": True, "enable_prefix_caching": False}, "--enforce-eager --no-enable-prefix-caching"),
        ({"cudagraph_capture_sizes": [1, 2]}, "--cudagraph-capture-sizes=[1, 2]"),
    ],
)
def test_a_setting_as_vllms_command_line_takes_it(setting: dict[str, Any], words: str) -> None:
    assert options(setting) == words
