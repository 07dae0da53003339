"""The page of what happens inside a step: its section on stalls, and the simulated runs that it counts in."""

from __future__ import annotations

import pytest

from tools.results.inside_the_step.page import NOISES, SIMULATED_STEPS, simulated, stall_rows, with_section

STALL = {
    "iteration": 60,
    "duration_ns": 2_100_000_000,
    "expected_ns": 100_000_000,
    "excess_ns": 2_000_000_000,
    "cause": "garbage collection",
    "explained_ns": 1_900_000_000,
    "detail": "generation 2",
}


def test_a_section_takes_the_place_of_the_one_of_its_title() -> None:
    page = with_section("", "## Stalls\n\nfirst\n")
    assert page == "# Inside the step\n\n## Stalls\n\nfirst\n"
    page = with_section(page, "## Phases\n\nother\n")
    assert with_section(page, "## Stalls\n\nsecond\n\n") == (
        "# Inside the step\n\n## Stalls\n\nsecond\n\n## Phases\n\nother\n"
    )


def test_a_row_names_what_was_planted() -> None:
    *_, row, end = stall_rows([STALL], {60: "garbage collection"})
    assert row == "| 60 | garbage collection | 2.10 s | 100 ms | garbage collection | 95% | generation 2 |"
    assert end == ""
    assert not list(stall_rows([]))


@pytest.mark.parametrize("noise", ["lognormal, 10 %", "1 + exponential of 10 %"])
def test_simulated_steps_without_a_pause_do_not_stall(noise: str) -> None:
    found = simulated(NOISES[noise], seed=1)
    assert (found.table.num_rows, found.judged) == (0, SIMULATED_STEPS)


def test_heavy_tails_are_told_as_stalls_in_few_steps() -> None:
    assert 0 < simulated(NOISES["exponential"], seed=1).table.num_rows < SIMULATED_STEPS / 100
