"""Faults planted in a real engine: every damaged request is found and named, and no other request is accused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.answers.integrity.aligned_answers import aligned
from engine_probe.analysis.answers.integrity.request_verdicts import ComparedAnswer, Kind, compare
from engine_probe.analysis.answers.quality.answer_verdicts import judge
from engine_probe.analysis.answers.quality.language import language_detector
from engine_probe.workload.arrivals import Burst
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.request_plan import Plan
from engine_probe.workload.workload_run import plan_for
from engine_probe.workload.workload_spec import Workload
from tests.support.answers.engine_answers import engine_answers
from tests.support.answers.model_answers import QUESTIONS, answer_to
from tests.support.answers.planted_faults import (
    CutAnswer,
    Fault,
    LostToken,
    OtherText,
    SwappedAnswers,
    WrongBlock,
    planted_faults,
)

PROMPT, ANSWER = 40, 24  # tokens: two KV blocks of 32 in `tiny_llm`
BY_ID = {question.id: question for question in QUESTIONS}
NAMES = {str(number) for number in range(12)}


@pytest.fixture(scope="module")
def plan(tiny_llm: Any) -> Plan:
    return plan_for(tiny_llm, Workload(RandomPrompts(PROMPT), Burst(), output_len=ANSWER, num_prompts=len(NAMES)))


@pytest.fixture(scope="module")
def reference(tiny_llm: Any, plan: Plan) -> pa.Table:
    return engine_answers(tiny_llm, plan)


def found_with(llm: Any, plan: Plan, reference: pa.Table, faults: Sequence[Fault]) -> dict[str, ComparedAnswer]:
    """Return the verdict on each request of a run with these faults."""
    with planted_faults(llm, faults) as planted:
        table = engine_answers(llm, plan)
    assert planted.victims, "no fault was planted"
    (run,) = compare([aligned(reference, table)]).runs
    found = {each.prompt_id: each for each in run.comparisons}
    assert found.keys() == NAMES
    assert {name for name, each in found.items() if each.is_fault} == planted.victims
    return found


def test_without_faults_no_request_is_accused(tiny_llm: Any, plan: Plan, reference: pa.Table) -> None:
    again = engine_answers(tiny_llm, plan)
    assert not any(each.is_fault for each in compare([aligned(reference, again)]).comparisons)


def test_wrong_kv_blocks_are_found_at_the_token_that_read_them(tiny_llm: Any, plan: Plan, reference: pa.Table) -> None:
    faults = [WrongBlock("3", token=8, donor="4"), WrongBlock("9", token=12, donor="0")]
    found = found_with(tiny_llm, plan, reference, faults)
    for name, token in (("3", 8), ("9", 12)):
        each = found[name]
        assert each.kind is Kind.DIVERGED
        assert each.token is not None
        # The token that read the block may stay the best one, by the processor's arithmetic; the next one read it, too.
        assert min(each.token, each.token if each.disturbed_token is None else each.disturbed_token) - token in (0, 1)


def test_a_lost_token_is_named(tiny_llm: Any, plan: Plan, reference: pa.Table) -> None:
    found = found_with(tiny_llm, plan, reference, [LostToken("2", token=7), LostToken("6", token=1)])
    for name, token in (("2", 7), ("6", 1)):
        assert (found[name].kind, found[name].token) == (Kind.DIVERGED, token)
        assert found[name].why == "the reference run's answer without 1 token"


def test_swapped_answers_name_each_others_prompt(tiny_llm: Any, plan: Plan, reference: pa.Table) -> None:
    found = found_with(tiny_llm, plan, reference, [SwappedAnswers("5", "8")])
    for name, other in (("5", "8"), ("8", "5")):
        assert (found[name].kind, found[name].token) == (Kind.DIVERGED, 0)
        assert found[name].why == f"the reference run's answer to prompt {other}"


def test_a_truncated_answer_is_cut_short(tiny_llm: Any, plan: Plan, reference: pa.Table) -> None:
    found = found_with(tiny_llm, plan, reference, [CutAnswer("1", 15)])
    assert (found["1"].kind, found["1"].token) == (Kind.CUT_SHORT, 15)


def test_all_at_once_are_told_apart(tiny_llm: Any, plan: Plan, reference: pa.Table) -> None:
    text = tiny_llm.get_tokenizer().encode("You are a tutor.")
    faults = [
        WrongBlock("3", token=8, donor="4"),
        LostToken("2", token=7),
        SwappedAnswers("5", "8"),
        CutAnswer("1", 15),
        OtherText("7", text),
    ]
    found = found_with(tiny_llm, plan, reference, faults)
    assert found["1"].kind is Kind.CUT_SHORT
    assert found["7"].token == 0
    assert "to prompt 5" in found["8"].why
    assert "without 1 token" in found["2"].why


def test_leaked_prompts_and_switches_of_language_are_found_in_the_text(tiny_llm: Any, plan: Plan) -> None:
    question = BY_ID["en-history-03"]
    leak, switch = question.system, answer_to(BY_ID["fr-history-03"], 0)
    assert leak
    encode = tiny_llm.get_tokenizer().encode
    with planted_faults(tiny_llm, [OtherText("4", encode(leak)), OtherText("10", encode(switch))]):
        table = engine_answers(tiny_llm, plan)
    detector = language_detector(["en", "fr"])
    texts = zip(table["prompt_id"].to_pylist(), table["text"].to_pylist(), strict=True)
    found = {name: judge(text, question, 0, "stop", detector) for name, text in texts}
    assert [name for name, each in found.items() if each.leaked_prompt.value] == ["4"]
    assert not detector or [name for name, each in found.items() if each.wrong_language.value] == ["10"]


def test_the_engine_is_as_before_afterwards(tiny_llm: Any, plan: Plan, reference: pa.Table) -> None:
    scheduler = tiny_llm.llm_engine.engine_core.engine_core.scheduler
    with pytest.raises(RuntimeError, match="in the block"), planted_faults(tiny_llm, [CutAnswer("1", 15)]):
        raise RuntimeError("in the block")
    assert "update_from_output" not in vars(scheduler)
    again = engine_answers(tiny_llm, plan)
    assert again["answer_crc32"].to_pylist() == reference["answer_crc32"].to_pylist()
