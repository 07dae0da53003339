"""Question sets become conversations in an order that the seed gives; a broken line is refused with its place."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.workload.arrivals import ClosedLoop
from engine_probe.workload.question_set.chat_tokens import chat_encoder
from engine_probe.workload.question_set.question_file import read_question_sets, shipped_sets
from engine_probe.workload.question_set.question_prompts import Questions, messages
from engine_probe.workload.request_plan import Plan, Request, make_plan
from engine_probe.workload.workload_spec import Sampling, Workload

CAPITAL = {"id": "capital", "language": "en", "subject": "places", "question": "Capital of France?"}
LINE = {**CAPITAL, "answer": {"contains": "Paris"}}
TALK = {
    "id": "talk",
    "language": "fr",
    "subject": "memory",
    "system": "Be brief.",
    "context": "A passage.",
    "turns": [
        {"question": "I am Ana.", "answer": {"contains": "Ana"}},
        {"question": "Who am I?", "answer": {"contains": "Ana"}},
    ],
}


class Words:
    """A tokenizer that a test can read: a token is the length of a word, and 99 ends a turn."""

    chat_template = "ends each turn"

    def apply_chat_template(self, said: list[dict[str, str]], tokenize: bool = True, **_: Any) -> Any:
        text = "".join(f"{message['role']} {message['content']} END " for message in said) + "assistant "
        return self.encode(text) if tokenize else text

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert tuple(text)
        return [99 if word == "END" else len(word) for word in text.split()]


def write(folder: Path, *lines: Any) -> str:
    path = folder / "set.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return str(path)


def plan_of(path: str | tuple[str, ...], count: int | None = None, users: int = 1, seed: int = 0) -> Plan:
    sampling = Sampling(ignore_eos=False)
    work = Workload(Questions(path), ClosedLoop(users), 8, count, sampling=sampling, seed=seed)
    return make_plan(work, encode_chat=chat_encoder(Words(), "set"))


def requests(plan: Plan) -> list[Request]:
    return [request for session in plan.sessions for request in session.requests]


def test_the_shipped_sets_ask_the_same_in_three_languages() -> None:
    languages = ["english", "french", "malay"]
    assert shipped_sets() == sorted([*languages, "explanations"])
    sets = [read_question_sets([name]) for name in languages]
    assert [len(found) for found in sets] == [24, 24, 24]
    for found, language in zip(sets, ("en", "fr", "ms"), strict=True):
        assert {question.language for question in found} == {language}
        assert Counter(question.subject for question in found) == {"history": 12, "science": 12}
        kinds = Counter(asked.answer.kind for question in found for asked in question.asked)
        assert set(kinds) == {"choice", "exact", "regex", "contains"}
        assert sum(len(question.turns) == 2 for question in found) == 4
        assert any(question.system for question in found)
        assert any(question.context for question in found)


def test_explanations_are_short_questions_behind_one_system_prompt() -> None:
    found = read_question_sets(["explanations"])
    assert len(found) == 64
    assert len({question.system for question in found}) == 1
    assert max(len(asked.question) for question in found for asked in question.asked) < 70


def test_right_letters_of_the_shipped_sets_are_spread() -> None:
    letters = Counter(
        asked.answer.choice for q in read_question_sets(["english"]) for asked in q.asked if asked.choices
    )
    assert set(letters) == set("ABCD")
    assert max(letters.values()) <= 4


def test_a_conversation_is_given_turn_by_turn_with_the_end_of_the_answer(tmp_path: Path) -> None:
    first, second = requests(plan_of(write(tmp_path, TALK)))
    assert (first.question_id, second.question_id) == ("talk/1", "talk/2")
    whole = "system Be brief. END user A passage. I am Ana. Répondez en une ou deux phrases. END assistant"
    assert first.prompt_token_ids == Words().encode(whole)
    assert second.prompt_token_ids == Words().encode(
        "END user Who am I? Répondez en une ou deux phrases. END assistant"
    )


def test_a_question_has_its_passage_choices_and_instruction(tmp_path: Path) -> None:
    line = {**CAPITAL, "context": "Read this.", "choices": ["Lyon", "Paris"], "answer": {"choice": "B"}}
    (question,) = read_question_sets([write(tmp_path, line)])
    (message,) = messages(question)
    passage, asked, instruction = message["content"].split("\n\n")
    assert (passage, asked) == ("Read this.", "Capital of France?\nA. Lyon\nB. Paris")
    assert instruction.startswith('Begin with "Answer: "')


def test_the_order_is_the_seeds_and_the_same_at_every_load() -> None:
    names = ("english", "french", "malay")
    one, many = (requests(plan_of(names, users=users)) for users in (1, 16))
    assert [request.question_id for request in one] == [request.question_id for request in many]
    other = requests(plan_of(names, seed=1))
    assert [request.question_id for request in one] != [request.question_id for request in other]
    assert len(one) == 84


def test_more_prompts_than_questions_ask_again_under_other_ids(tmp_path: Path) -> None:
    plan = plan_of(write(tmp_path, LINE, {**LINE, "id": "other"}), count=5)
    assert Counter(request.question_id for request in requests(plan)).most_common(1)[0][1] == 3
    assert len({request.id for request in requests(plan)}) == 5


def test_fewer_prompts_are_the_beginning_of_more() -> None:
    few, more = (requests(plan_of("english", count=count)) for count in (5, 40))
    assert [request.question_id for request in few] == [request.question_id for request in more][: len(few)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is not valid JSON"),
        ("[]", "expected a JSON object"),
        (CAPITAL, "answer is missing"),
        ({**LINE, "question": None}, "question is missing"),
        ({**LINE, "langage": "en"}, "langage is not known: did you mean language?"),
        ({**LINE, "language": "english"}, "language is 'english'"),
        ({**LINE, "id": "a/b"}, "id is 'a/b'"),
        ({**LINE, "answer": {}}, "answer has no key: give exactly one of choice, exact, regex, contains"),
        ({**LINE, "answer": {"exact": "a", "regex": "b"}}, "answer has exact and regex"),
        ({**LINE, "answer": {"choice": "B"}}, "answer.choice is 'B': give choices beside it"),
        ({**LINE, "choices": ["x", "y"], "answer": {"choice": "C"}}, "answer.choice is 'C'"),
        ({**LINE, "choices": ["x"]}, "choices has 1 entries"),
        ({**LINE, "answer": {"regex": "(a"}}, "answer.regex is '(a', which RE2 does not take"),
        ({**LINE, "answer": {"regex": r"(\w)\1"}}, "which RE2 does not take"),
        ({**LINE, "answer": {"contains": []}}, "answer.contains is ()"),
        ({**LINE, "answer": {"exact": "?"}}, "answer.exact is '?': give words or numbers"),
        ({**LINE, "answer": {"exact": []}}, "answer.exact is (): give words or numbers"),
        ({**LINE, "eval": "exam"}, 'eval is "exam", expected answer or teaching'),
        ({**TALK, "question": "And?"}, "turns is given beside question"),
        ({**TALK, "turns": TALK["turns"] * 5}, "turns has 10 questions"),
        (LINE, "id 'capital' is that of"),
    ],
)
def test_a_broken_line_is_refused_with_its_place(line: Any, problem: str, tmp_path: Path) -> None:
    path = write(tmp_path, LINE, line)
    with pytest.raises(InputError) as refused:
        read_question_sets([path])
    assert str(refused.value).startswith(f"{path}:2")
    assert problem in str(refused.value)


def test_a_set_that_is_not_there_is_refused_with_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no question set frensh: did you mean french"):
        read_question_sets(["frensh"])
    with pytest.raises(InputError, match="holds no question"):
        read_question_sets([write(tmp_path)])


def test_no_set_at_all_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="length >= 1"):
        msgspec.convert({"kind": "questions", "path": []}, Questions)


def test_answers_beyond_their_end_are_refused() -> None:
    with pytest.raises(InputError, match="ignore_eos is true"):
        Workload(Questions("english"), output_len=8)
    with pytest.raises(InputError, match="output_len is missing"):
        Workload(Questions("english"), sampling=Sampling(ignore_eos=False))


def test_a_model_that_cannot_chat_is_refused() -> None:
    words = Words()
    words.chat_template = ""
    with pytest.raises(InputError, match="has no chat template"):
        chat_encoder(words, "set")
    with pytest.raises(InputError, match="this model has no tokenizer"):
        make_plan(Workload(Questions("english"), output_len=8, sampling=Sampling(ignore_eos=False)))


def test_a_template_that_takes_no_second_turn_is_refused(tmp_path: Path) -> None:
    """It may raise an error of its own, or leave out the answer that the next turn follows."""

    class OnlyUsers(Words):
        def apply_chat_template(self, said: list[dict[str, str]], tokenize: bool = True, **_: Any) -> Any:
            return super().apply_chat_template([each for each in said if each["role"] == "user"], tokenize)

    class Broken(Words):
        def apply_chat_template(self, *_: Any, **__: Any) -> Any:
            raise ValueError("roles must alternate")

    work = Workload(Questions(write(tmp_path, TALK)), output_len=8, sampling=Sampling(ignore_eos=False))
    for words, sentence in ((OnlyUsers(), "leaves out earlier answers"), (Broken(), "refuses a conversation")):
        with pytest.raises(InputError, match=f"set: this model's chat template {sentence}"):
            make_plan(work, encode_chat=chat_encoder(words, "set"))
