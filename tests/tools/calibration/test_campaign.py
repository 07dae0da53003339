"""A short run of the simulations: the same seed gives the same table, and what is known to hold does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tools.calibration import campaign
from tools.calibration.campaign import SIMULATIONS, measure
from tools.calibration.claims import TOPICS
from tools.calibration.curves import curve_claims
from tools.calibration.simulated.shapes import DRAWS
from tools.calibration.simulated.sweeps import CONDITIONS, draw_sweep, sweep_plan
from tools.calibration.table import tables, verdict
from tools.calibration.tally import ALL, Tally


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)], ids=["some rounds", "all rounds"])
def rounds(request: pytest.FixtureRequest) -> int:
    """Return how many sweeps of every shape are drawn; `make measure-calibration` draws thousands."""
    return int(request.param)


@pytest.fixture(scope="module")
def curves(rounds: int) -> Tally:
    """Count the claims of sweeps with independent noise, and of those alone, of every shape."""
    tally = Tally()
    for number, shape in enumerate([*DRAWS] * rounds):
        tally.add_cluster(
            "independent", curve_claims(draw_sweep(np.random.default_rng([11, number]), shape, "independent"))
        )
    return tally


@pytest.mark.lengthy
def test_the_same_seed_gives_the_same_table_and_another_gives_another() -> None:
    once, again, other = ("\n".join(tables(measure(SIMULATIONS, 4, seed)[0])) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_a_run_that_is_cut_short_keeps_what_it_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(work: list[campaign.Chunk], processes: int) -> Iterator[Tally]:
        yield Tally()
        raise KeyboardInterrupt

    monkeypatch.setattr(campaign, "tallies", cut)
    work = campaign.chunks(SIMULATIONS, 1000, 1)
    assert {chunk.part for chunk in work[: len(SIMULATIONS)]} == {*SIMULATIONS}
    assert measure(SIMULATIONS, 1000, 1) == (Tally(), 1 / len(work))


def test_every_shape_meets_every_condition() -> None:
    count = len(DRAWS) * len(CONDITIONS)
    assert len({sweep_plan(index) for index in range(count)}) == count


@pytest.mark.lengthy
def test_intervals_of_levels_hold_under_independent_noise(curves: Tally, rounds: int) -> None:
    count = curves["interval of a level", "independent", ALL]
    assert count.said > 50 * rounds
    assert verdict(TOPICS["interval of a level"], count) != "FAILS"
    assert count.share > 0.9


@pytest.mark.lengthy
def test_the_best_measured_level_costs_little(curves: Tally, rounds: int) -> None:
    count = curves["operating at the best measured level costs over 5 %", "independent", ALL]
    assert count.said == rounds * len(DRAWS)
    assert count.share < 0.05


@pytest.mark.lengthy
def test_losses_of_a_twentieth_are_told(curves: Tally) -> None:
    assert curves["5 % or more below the best level, and told apart", "independent", ALL].share > 0.8
