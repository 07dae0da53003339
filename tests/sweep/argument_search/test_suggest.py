"""The next setting of a search: a function of the seed and the trials, never one that was tried."""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe.analysis.compare.argument_trials import Score, Trial
from engine_probe.errors import InputError
from engine_probe.sweep.argument_search import suggest as module
from engine_probe.sweep.argument_search.space import ArgumentSearch, Span
from engine_probe.sweep.argument_search.suggest import check_installed, distribution, suggest
from tests.support.engines.simulated_arguments import SHAPES, SimulatedEngine, outcome, searched

SMALL = ArgumentSearch({"max_num_seqs": Span(1, 3), "enforce_eager": Span(choices=[True, {}])})


def tried_all(search: ArgumentSearch, value: Any) -> list[Trial]:
    """Ask until every setting was tried."""
    tried: list[Trial] = []
    while setting := suggest(search, tried):
        tried.append(Trial(str(len(tried)), setting, 0, value(setting)))
    return tried


@pytest.mark.lengthy
def test_a_small_space_is_tried_completely_and_no_setting_twice() -> None:
    tried = tried_all(SMALL, lambda setting: Score(float(setting["max_num_seqs"])))
    assert len(tried) == SMALL.settings == 6
    assert len({trial.name for trial in tried}) == 6
    assert {str(trial.setting["enforce_eager"]) for trial in tried} == {"True", "{}"}


@pytest.mark.lengthy
def test_the_same_trials_give_the_same_suggestion_and_another_seed_another() -> None:
    search = ArgumentSearch({"max_num_seqs": Span(1, 4096, log=True), "gpu_memory_utilization": Span(0.5, 0.95)})
    tried: list[Trial] = []
    for number in range(8):
        setting = suggest(search, tried)
        assert setting == suggest(search, list(tried))
        assert setting is not None
        assert 0.5 <= setting["gpu_memory_utilization"] <= 0.95
        assert isinstance(setting["max_num_seqs"], int)
        score = None if number == 2 else Score(float(setting["max_num_seqs"]))
        tried.append(Trial(str(number), setting, 0, score))
    other = ArgumentSearch(search.arguments, seed=1)
    assert suggest(other, tried[:3]) != tried[3].setting


@pytest.mark.lengthy
@pytest.mark.parametrize("seed", range(3))
def test_settings_that_cannot_start_are_avoided_once_they_are_known(seed: int) -> None:
    """The more requests the better, up to 500, beyond which nothing starts: the next trial is close below."""
    search = ArgumentSearch({"max_num_seqs": Span(1, 1000), "block_size": Span(choices=[16, 32])}, seed=seed)
    tried = [
        Trial("", {"max_num_seqs": number, "block_size": size}, 0, Score(1000 + number / 10) if number < 500 else None)
        for number in range(50, 1000, 100)
        for size in (16, 32)
    ]
    setting = suggest(search, tried)
    assert setting is not None
    assert 400 < setting["max_num_seqs"] < 500


@pytest.mark.lengthy
def test_a_unit_of_the_objective_changes_no_suggestion_and_none_of_it_at_all_is_taken() -> None:
    """The model sees ratios: a thousandth of each value is the same search, also where one trial answered nothing."""
    search = ArgumentSearch({"max_num_seqs": Span(1, 4096, log=True)})
    values = {1: 0.0, 8: 80.0, 64: 500.0, 512: 900.0, 2048: 700.0, 4096: 300.0}

    def suggested(unit: float) -> Any:
        return suggest(search, [Trial("", {"max_num_seqs": n}, 0, Score(v * unit)) for n, v in values.items()])

    assert suggested(1.0) == suggested(2.0**-10)


def test_a_baseline_outside_the_space_teaches_nothing_and_breaks_nothing() -> None:
    outside = Trial("0", {"max_num_seqs": "default", "enforce_eager": True}, 0, Score(5.0))
    assert suggest(SMALL, [outside]) is not None


@pytest.mark.parametrize(
    ("span", "low", "high", "step"),
    [
        *((Span(10, 100, step=16), 10, 90, 16), (Span(1, 8), 1, 8, 1), (Span(0.5, 0.9, step=0.1), 0.5, 0.9, 0.1)),
        (Span(10, 1000, step=16), 10, 986, None),
    ],
)
def test_a_range_ends_where_its_steps_do(span: Span, low: float, high: float, step: float) -> None:
    made: Any = distribution(span)
    assert (made.low, made.step) == (low, step)
    assert made.high == pytest.approx(high)


def test_without_optuna_a_search_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'search needs optuna, .* pip install "engine-probe\[search\]"'):
        check_installed()


@pytest.mark.slow
def test_it_comes_near_the_planted_best_of_noisy_engines() -> None:
    """Rates over many seeds: docs/results/sweeps/argument_search.md."""
    engines = [SimulatedEngine(seed, SHAPES[seed % 3]) for seed in range(6)]
    found = [outcome(engine, searched(engine, 19), 19).share for engine in engines]
    assert sum(share > 0.9 for share in found) >= 5
