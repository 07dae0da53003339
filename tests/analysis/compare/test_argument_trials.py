"""What a search found: the best setting, the gain by repeats alone, and the effect of each argument."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine_probe.analysis.compare.argument_trials import ArgumentTrials, Score, Trial, best_of


def trial(value: float | None, repeat: int = 0, strain: float | None = None, **setting: Any) -> Trial:
    limited, score = strain is not None, None if value is None else Score(value, strain)
    return Trial("id", setting, repeat, score, "" if score else "out of memory", limited)


def test_the_gain_is_that_of_the_repeats_and_not_of_the_lucky_measurement() -> None:
    found = ArgumentTrials(
        (
            trial(100, seqs=8),
            trial(150, seqs=16),
            trial(120, seqs=32),
            trial(100, 1, seqs=8),
            trial(121, 1, seqs=16),
            trial(119, 2, seqs=16),
            trial(100, 2, seqs=8),
        )
    )
    assert found.challenger is found.trials[1]
    assert found.gain is not None
    assert found.gain.before == (100, 100)
    assert found.gain.relative == pytest.approx(math.sqrt(1.21 * 1.19) - 1)
    assert found.gain.interval is not None
    assert found.gain.interval[0] < found.gain.relative < found.gain.interval[1]


def test_what_misses_its_limits_or_failed_is_never_the_best() -> None:
    found = ArgumentTrials(
        (
            trial(100, strain=0.9, seqs=8),
            trial(900, strain=1.01, seqs=64),
            trial(None, seqs=128),
            trial(110, strain=1.0, seqs=16),
        )
    )
    assert best_of(found.trials) is found.trials[3]
    assert [each.setting["seqs"] for each in found.infeasible] == [64]
    assert [each.reason for each in found.failed] == ["out of memory"]


def test_a_strain_that_is_not_known_meets_no_limit() -> None:
    assert not Trial("id", {}, 0, Score(10.0, None), limited=True).is_feasible
    assert Trial("id", {}, 0, Score(10.0, None)).is_feasible


def test_the_baseline_is_not_its_own_challenger_and_without_another_there_is_no_gain() -> None:
    found = ArgumentTrials((trial(100, seqs=8), trial(None, seqs=16), trial(100, 1, seqs=8)))
    assert best_of(found.trials) is found.first
    assert (found.challenger, found.gain) == (None, None)


def test_without_repeats_there_is_no_gain_to_report() -> None:
    found = ArgumentTrials((trial(100, seqs=8), trial(150, seqs=16)))
    assert found.challenger is found.trials[1]
    assert found.gain is None


def test_effects_are_found_where_they_were_planted() -> None:
    """The rate follows seqs alone; the block size is dealt out evenly."""
    found = ArgumentTrials(tuple(trial(100.0 + seqs, seqs=seqs, block=(16, 32)[seqs % 2]) for seqs in range(1, 13)))
    by_name = {effect.argument: effect for effect in found.effects}
    assert by_name["seqs"].correlation == pytest.approx(1)
    assert by_name["seqs"].p < 0.01
    assert by_name["block"].p > 0.5


def test_choices_are_compared_by_their_medians() -> None:
    values = [
        (f"{policy}", 100.0 + 50 * (policy == "priority") + number)
        for number in range(6)
        for policy in ("fcfs", "priority")
    ]
    found = ArgumentTrials(tuple(trial(value, policy=policy) for policy, value in values))
    (effect,) = found.effects
    assert effect.correlation is None
    assert effect.medians == {"fcfs": (102.5, 6), "priority": (152.5, 6)}
    assert effect.p < 0.01


def test_few_trials_and_arguments_that_did_not_vary_show_no_effect() -> None:
    assert ArgumentTrials(tuple(trial(float(n), seqs=n) for n in range(1, 5))).effects == []
    alike = ArgumentTrials(tuple(trial(float(n), seqs=n, block=16) for n in range(1, 9)))
    assert [effect.argument for effect in alike.effects] == ["seqs"]
