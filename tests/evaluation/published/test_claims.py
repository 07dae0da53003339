"""Published claims are held against the sweep's own tests, and are said to be unmeasured where nothing judges them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.analysis.compare.load_effect import Effect, Effects, OutcomeFigure
from engine_probe.commands.report import command
from engine_probe.errors import InputError
from engine_probe.evaluation.published.claims import FAILURES, LATENCY, MEASURES, Evidence, Finding
from engine_probe.evaluation.published.reference import read_reference
from engine_probe.evaluation.quality import curve_qualities
from engine_probe.recordings.run import load
from engine_probe.recordings.sweep import load_sweep
from tests.support.recordings.run_folders import write_sweep
from tests.support.sweeps.judged_sweeps import ENGLISH, write_judged_run, write_judged_sweep

ASKED = [question.turn_id(turn) for question, turn in ENGLISH]
MALAY = "Peristiwa itu berlaku di sebuah kampung yang kecil di tepi sungai, dan ramai orang melihatnya."
SHARE, TIME = OutcomeFigure(FAILURES, "", share=True), OutcomeFigure(LATENCY, "ms")


def judged(measure: str, folder: Path, *tested: Effect) -> Finding:
    swept = load_sweep(folder)
    return MEASURES[measure](Evidence(swept.points, Effects(tested, (), ()), curve_qualities(swept).get("")))


def effect(outcome: OutcomeFigure, lowest: float, highest: float, p: float, furthest: float = 0.5) -> Effect:
    size = 1.0 if highest > lowest else -1.0
    return Effect(outcome, 9, 3, 3, size, p, lowest, highest, None, (-furthest, furthest))


@pytest.mark.parametrize(
    ("tested", "holds"),
    [
        (effect(SHARE, 0.0, 0.8, 0.001), "holds"),
        (effect(SHARE, 0.2, 0.1, 0.001), "does not hold"),
        (effect(SHARE, 0.1, 0.3, 0.2), "not shown"),
        (effect(SHARE, 0.1, 0.1, 0.9, furthest=0.01), "does not hold"),
    ],
)
def test_a_claim_about_load_is_as_good_as_its_test(tmp_path: Path, tested: Effect, holds: str) -> None:
    found = judged("failures", write_sweep(tmp_path, (1, 8)), tested)
    assert found.holds == holds
    assert f"{tested.highest:.0%} at 8; p = {tested.p:.2g}" in found.words


@pytest.mark.parametrize(("highest", "holds"), [(33_000, "does not hold"), (200_000, "holds")])
def test_latency_in_proportion_to_the_load_is_not_faster_than_load(tmp_path: Path, highest: float, holds: str) -> None:
    """As published: 3.5 s at 1 user and 33 s at 32."""
    found = judged("faster_than_load", write_sweep(tmp_path, (1, 32)), effect(TIME, 3_500, highest, 0.01))
    assert found == Finding(holds, f"{highest / 3_500:.1f} times the latency at 32 times the load")


@pytest.mark.lengthy
def test_a_fault_that_comes_with_load_holds_and_one_that_was_there_before_is_not_shown(tmp_path: Path) -> None:
    planted = dict.fromkeys(ASKED[8:20], MALAY)
    came = write_judged_sweep(tmp_path / "came", {1: {}, 32: planted})
    stayed = write_judged_sweep(tmp_path / "stayed", {1: planted, 32: planted})
    assert judged("wrong_language", came).holds == "holds"
    assert judged("accuracy", came).holds == "holds"
    assert judged("wrong_language", stayed).holds == "not shown"
    assert judged("leaked_prompt", came) == Finding("not shown", "0% at 1, 0% at 32")


def test_answers_that_cannot_be_judged_are_counted_by_the_reason(tmp_path: Path) -> None:
    unsure = dict.fromkeys(ASKED, "I am not sure.")
    found = judged("contradiction", write_judged_sweep(tmp_path, {1: unsure, 32: unsure}))
    assert found.holds == "not measured"
    choices = 2 * sum(bool(question.asked[turn].choices) for question, turn in ENGLISH)
    assert f"announces no letter: {choices}" in found.words
    assert f"no choices: {2 * len(ASKED) - choices}" in found.words


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_what_was_not_measured_is_said(tmp_path: Path, measure: str) -> None:
    found = judged(measure, write_sweep(tmp_path, (8,)))
    assert found.holds == "not measured"
    assert found.words


def test_a_loss_of_kv_cache_is_judged_only_where_it_happened(tmp_path: Path) -> None:
    found = judged("lost_kv_cache", write_judged_sweep(tmp_path, {1: {}, 32: {}}))
    assert found.holds == "not measured"
    assert found.words.startswith("no request lost its KV cache; the pool was at most ")


SMALL_POOL = {32: 30}


@pytest.fixture
def preempted(tmp_path: Path) -> set[str]:
    """The questions whose requests lose their KV cache in a small pool."""
    run = load(write_judged_run(tmp_path / "small", blocks=SMALL_POOL[32]))
    lost = set(run.preemptions["request_id"].to_pylist())
    asked = zip(*(run.answers[name].to_pylist() for name in ("request_id", "question_id")), strict=True)
    return {question for request, question in asked if request in lost}


def test_answers_that_only_a_lost_kv_cache_makes_wrong_are_its_doing(tmp_path: Path, preempted: set[str]) -> None:
    folder = write_judged_sweep(tmp_path / "sweep", {1: {}, 32: dict.fromkeys(preempted, MALAY)}, blocks=SMALL_POOL)
    found = judged("lost_kv_cache", folder)
    assert found.holds == "holds"
    assert found.words.startswith("right: 0 of ")


def test_questions_that_are_answered_wrong_with_and_without_their_kv_cache_say_nothing_of_it(
    tmp_path: Path, preempted: set[str]
) -> None:
    """Among all answers the preempted ones are by far the worst; each question is as well answered without."""
    hard = dict.fromkeys(preempted, MALAY)
    found = judged("lost_kv_cache", write_judged_sweep(tmp_path / "sweep", {1: hard, 32: hard}, blocks=SMALL_POOL))
    assert found.holds == "not shown"
    assert found.words.endswith("each was always right or always wrong")


def test_without_an_answer_to_compare_a_lost_kv_cache_is_not_judged(tmp_path: Path) -> None:
    found = judged("lost_kv_cache", write_judged_sweep(tmp_path / "sweep", {32: {}}, blocks=SMALL_POOL))
    assert found.holds == "not measured"
    assert found.words == "no question was answered with its KV cache lost once and kept once"


def test_the_report_says_how_many_claims_hold_and_lists_them(tmp_path: Path) -> None:
    folder = write_judged_sweep(tmp_path / "sweep", {1: {}, 32: dict.fromkeys(ASKED[8:20], MALAY)})
    result = CliRunner().invoke(command, [str(folder), "--reference", "l40s_stress"])
    assert result.exit_code == 0, result.exception
    assert "Published claims: One L40S under 1 to 32 users" in result.stdout
    assert f"Of {len(read_reference('l40s_stress').claims)} claims: 2 hold here" in result.stdout


def test_an_unknown_measure_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text('title = "t"\nsource = "s"\n[[claims]]\nclaim = "c"\nmeasure = "mood"\n')
    with pytest.raises(InputError, match=r"claims\[0\].measure is 'mood': known are failures, "):
        read_reference(str(tmp_path / "toy.toml"))
