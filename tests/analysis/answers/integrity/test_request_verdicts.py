"""What became of each request, against the reference run."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.answers.integrity.aligned_answers import aligned
from engine_probe.analysis.answers.integrity.request_verdicts import ComparedAnswer, Integrity, Kind, compare
from tests.support.answers.simulated_answers import SCHEMA, Engine, NoiseOf, Reals, heavy, normal, rounded, row
from tests.support.samples import some_and_all

ENGINE = Engine(prompts=100, tokens=60, seed=3)
NOISE = normal(0.02)
REFERENCE = ENGINE.answers(1, NOISE)


def changed(table: pa.Table, prompt: int, **columns: object) -> pa.Table:
    """Return the table with other values in the row of a prompt."""
    rows = table.to_pylist()
    rows[prompt] |= columns
    return pa.Table.from_pylist(rows, SCHEMA)


def of_prompt(found: Integrity, prompt: int) -> ComparedAnswer:
    return next(each for each in found.comparisons if each.prompt_id == str(prompt))


def against_reference(table: pa.Table) -> Integrity:
    return compare([aligned(REFERENCE, table)])


def unchanged_prompt(found: Integrity) -> int:
    return next(int(each.prompt_id) for each in found.comparisons if each.kind is Kind.IDENTICAL)


CLEAN = against_reference(ENGINE.answers(2, NOISE))
PROMPT = unchanged_prompt(CLEAN)


def test_the_same_run_again_is_identical_and_has_no_noise() -> None:
    found = against_reference(REFERENCE)
    assert {each.kind for each in found.comparisons} == {Kind.IDENTICAL}
    assert found.noise is not None
    assert (found.noise.shifted, found.noise.limit) == (0, None)


def test_with_noise_answers_diverge_at_near_ties_and_nothing_else_is_found() -> None:
    kinds = [each.kind for each in CLEAN.comparisons]
    assert set(kinds) == {Kind.IDENTICAL, Kind.NEAR_TIE}
    assert kinds.count(Kind.NEAR_TIE) >= 20
    assert CLEAN.runs[0].disturbed == 0


def test_a_near_tie_needs_the_margins_of_both_runs() -> None:
    each = next(each for each in CLEAN.comparisons if each.kind is Kind.NEAR_TIE)
    (pair,) = (pair for pair in CLEAN.runs[0].aligned.pairs if pair.other.prompt_id == each.prompt_id)
    assert pair.logprobs is not None
    mine, theirs = pair.logprobs
    assert each.token is not None
    assert each.needed_shift == pytest.approx(mine.margins[each.token] + theirs.margins[each.token])


def test_an_answer_that_ends_early_is_cut_short() -> None:
    table = ENGINE.answers(2, NOISE)
    parts = {
        name: table[name][PROMPT].as_py()[:40]
        for name in ("token_ids", "logprobs", "second_token_ids", "second_logprobs")
    }
    each = of_prompt(against_reference(changed(table, PROMPT, **parts)), PROMPT)
    assert (each.kind, each.token) == (Kind.CUT_SHORT, 40)


def test_another_prompts_answer_is_named() -> None:
    table = ENGINE.answers(2, NOISE)
    parts = {name: REFERENCE[name][7].as_py() for name in SCHEMA.names[6:]}
    each = of_prompt(against_reference(changed(table, PROMPT, **parts)), PROMPT)
    assert (each.kind, each.token, each.why) == (Kind.DIVERGED, 0, "the reference run's answer to prompt 7")


def test_a_token_lost_on_the_way_is_named() -> None:
    table = ENGINE.answers(2, NOISE)
    parts = {}
    for name in ("token_ids", "logprobs", "second_token_ids", "second_logprobs"):
        values = table[name][PROMPT].as_py()
        parts[name] = values[:20] + values[21:]
    found = against_reference(changed(table, PROMPT, **parts))
    each = of_prompt(found, PROMPT)
    assert (each.kind, each.token, each.at_least) == (Kind.DIVERGED, 20, True)
    assert each.why == "the reference run's answer without 1 token"


def test_failed_requests_are_no_divergence() -> None:
    each = of_prompt(against_reference(changed(ENGINE.answers(2, NOISE), PROMPT, outcome="deadline")), PROMPT)
    assert each.kind is Kind.FAILED


def test_requests_in_flight_at_the_end_are_not_compared() -> None:
    found = against_reference(changed(ENGINE.answers(2, NOISE), PROMPT, outcome="stopped"))
    assert found.runs[0].not_compared == 1
    assert len(found.comparisons) == 99


def test_without_log_probabilities_a_divergence_is_undecided() -> None:
    blank = {"logprobs": None, "second_token_ids": None, "second_logprobs": None}
    tables = [
        pa.Table.from_pylist([row | blank for row in table.to_pylist()], SCHEMA)
        for table in (REFERENCE, ENGINE.answers(2, NOISE))
    ]
    found = compare([aligned(*tables)])
    different = [each for each in found.comparisons if each.kind is not Kind.IDENTICAL]
    assert {(each.kind, each.why) for each in different} == {(Kind.UNDECIDED, "no log-probabilities")}
    assert found.noise is None


def test_without_tokens_checksums_tell_equal_from_changed() -> None:
    tables = [
        table.set_column(6, SCHEMA.field("token_ids"), pa.nulls(table.num_rows, SCHEMA.field("token_ids").type))
        for table in (REFERENCE, ENGINE.answers(2, NOISE))
    ]
    found = compare([aligned(*tables)])
    kinds = [each.kind for each in found.comparisons]
    assert kinds.count(Kind.IDENTICAL) == [each.kind for each in CLEAN.comparisons].count(Kind.IDENTICAL)
    assert {each.why for each in found.comparisons if each.kind is Kind.UNDECIDED} == {"tokens were not kept"}


@pytest.mark.lengthy
def test_a_change_to_a_third_token_is_undecided_where_both_margins_are_small() -> None:
    each = next(each for each in CLEAN.comparisons if each.kind is Kind.NEAR_TIE)
    assert each.token is not None
    table = ENGINE.answers(2, NOISE)
    tokens = table["token_ids"][int(each.prompt_id)].as_py()
    tokens[each.token] = 7
    found = of_prompt(against_reference(changed(table, int(each.prompt_id), token_ids=tokens)), int(each.prompt_id))
    assert (found.kind, found.why) == (Kind.UNDECIDED, "the other token was not the second-best")


def test_a_disturbance_that_changes_no_token_is_found() -> None:
    """A KV block of another context can move all margins and yet leave every best token the best."""

    def faults(prompt: int, margins: Reals) -> Reals:
        return np.where((np.arange(60) >= 30) & (prompt == PROMPT), np.abs(margins) + 2.0, margins)

    each = of_prompt(against_reference(ENGINE.answers(2, NOISE, faults=faults)), PROMPT)
    assert (each.kind, each.disturbed_token) == (Kind.IDENTICAL, 30)
    assert each.is_fault


def test_a_fault_is_found_in_an_engine_without_noise() -> None:
    exact = normal(0.0)
    reference = ENGINE.answers(1, exact)

    def faults(prompt: int, margins: Reals) -> Reals:
        return np.where((np.arange(60) == 30) & (prompt == 4), -2.0, margins)

    found = compare([aligned(reference, ENGINE.answers(2, exact, faults=faults))])
    assert [(each.prompt_id, each.token) for each in found.comparisons if each.kind is Kind.DIVERGED] == [("4", 30)]


@pytest.mark.lengthy
def test_a_small_change_in_an_engine_without_noise_is_undecided() -> None:
    exact = normal(0.0)
    reference = ENGINE.answers(1, exact)
    margins, _ = ENGINE.path(4, ())
    token = int(np.argmin(margins))

    def faults(prompt: int, moved: Reals) -> Reals:
        return np.where((np.arange(60) == token) & (prompt == 4), -0.001, moved)

    found = compare([aligned(reference, ENGINE.answers(2, exact, faults=faults))])
    each = of_prompt(found, 4)
    assert (each.kind, each.why) == (Kind.UNDECIDED, "too few margins shifted to measure the noise")


@pytest.mark.lengthy
@some_and_all("seeds", 4, 8)
@pytest.mark.parametrize(
    "noise", [normal(0.05), heavy(0.05), rounded(normal(0.04)), rounded(heavy(0.02)), rounded(normal(0.012))]
)
def test_clean_runs_are_not_accused(noise: NoiseOf, seeds: int) -> None:
    """Over many seeds under one request in a hundred is accused, whatever the noise looks like."""
    accused = requests = 0
    for seed in range(seeds):
        engine = Engine(prompts=100, tokens=60, seed=seed)
        reference, *others = (engine.answers(10 * seed + run, noise) for run in range(3))
        found = compare([aligned(reference, other) for other in others])
        accused += sum(each.is_fault for each in found.comparisons)
        requests += len(found.comparisons)
    assert accused < 0.01 * requests


def wrong_context(prompts: set[int], chance: np.random.Generator) -> Callable[[int, Reals], Reals]:
    """Return faults that replace all margins from the tenth token on by those of another context."""

    def faults(prompt: int, margins: Reals) -> Reals:
        if prompt not in prompts:
            return margins
        other = chance.exponential(1.5, len(margins)) * chance.choice([1, -1], len(margins), p=[0.7, 0.3])
        return np.where(np.arange(len(margins)) < 10, margins, other)

    return faults


@pytest.mark.lengthy
@some_and_all("seeds", 4, 10)
@pytest.mark.parametrize("noise", [normal(0.02), rounded(normal(0.012))])
def test_wrong_context_in_one_request_of_a_hundred_is_found(noise: NoiseOf, seeds: int) -> None:
    found_in = 0
    for seed in range(seeds):
        engine = Engine(prompts=500, tokens=40, seed=seed)
        faults = wrong_context(set(range(0, 500, 100)), np.random.default_rng(seed))
        tables = engine.answers(seed, noise), engine.answers(seed + 100, noise, faults=faults)
        found = compare([aligned(*tables)])
        planted = [each for each in found.comparisons if int(each.prompt_id) % 100 == 0]
        found_in += sum(each.is_fault for each in planted) >= 3
    assert found_in == seeds


def test_rows_of_simulated_answers_have_a_log_probability_for_each_token() -> None:
    made = row("0", "0", np.array([5, 7]), np.array([6, 8]), np.array([0.0, 2.0]))
    assert made["logprobs"] == pytest.approx([-np.log(2), -np.log1p(np.exp(-2.0))])
