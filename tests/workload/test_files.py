"""Datasets and traces from local files become requests; errors name the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine_probe.errors import InputError
from engine_probe.workload.arrivals import Burst, Replay
from engine_probe.workload.dataset_file import Dataset, Texts
from engine_probe.workload.request_plan import Plan, check_fits, make_plan
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_spec import Prompts, Workload


def words(text: str) -> list[int]:
    """A tokenizer that a test can read: one token for each word, its length."""
    return [len(word) for word in text.split()]


def asked(prompts: Prompts, **more: object) -> Plan:
    return make_plan(Workload(prompts, **more), encode=words)


def requests(plan: Plan) -> list[tuple[str, list[int], int]]:
    return [
        (request.id, request.prompt_token_ids, request.output_len)
        for session in plan.sessions
        for request in session.requests
    ]


def write(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def said(*messages: tuple[str, str]) -> dict[str, object]:
    return {"id": "x", "conversations": [{"from": who, "value": text} for who, text in messages]}


@pytest.fixture
def sharegpt(tmp_path: Path) -> str:
    entries = [
        said(("system", "be kind"), ("human", "one two"), ("gpt", "a b c"), ("human", "and"), ("gpt", "so on")),
        said(("gpt", "an answer to nothing")),
        said(("human", "a question"), ("human", "asked twice"), ("gpt", "")),
    ]
    return write(tmp_path / "sharegpt.json", entries)


def test_sharegpt_gives_questions_and_the_lengths_of_their_answers(sharegpt: str) -> None:
    plan = asked(Dataset(sharegpt, "sharegpt"))
    assert sorted((prompt, length) for _, prompt, length in requests(plan)) == [([3, 3], 3), ([5, 5], 1)]


def test_sharegpt_with_several_turns_is_a_conversation(sharegpt: str) -> None:
    plan = asked(Dataset(sharegpt, "sharegpt", turns=5), output_len=8)
    longest = max(plan.sessions, key=lambda session: len(session.requests))
    assert [request.prompt_token_ids for request in longest.requests] == [[3, 3], [3]]
    assert {length for _, _, length in requests(plan)} == {8}


def test_alpaca_joins_the_instruction_and_its_input(tmp_path: Path) -> None:
    entries = [
        {"instruction": "Add these", "input": "1 22", "output": "the sum is 23"},
        {"instruction": "Say hello", "input": "", "output": "hello"},
    ]
    plan = asked(Dataset(write(tmp_path / "alpaca.json", entries), "alpaca"))
    assert sorted((prompt, length) for _, prompt, length in requests(plan)) == [([3, 5], 1), ([3, 5, 1, 2], 4)]


def test_a_sample_is_drawn_by_the_seed_each_entry_once(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"prompt": "w" * number, "output_tokens": number}) for number in range(1, 101))
    dataset = Dataset(write(tmp_path / "some.jsonl", lines), "jsonl")

    def sample(seed: int) -> list[int]:
        return [length for _, _, length in requests(asked(dataset, num_prompts=30, seed=seed))]

    assert sample(1) == sample(1) != sample(2)
    assert len(set(sample(1))) == 30
    assert len(requests(asked(dataset))) == 100


def test_entries_that_are_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"prompt": "w " * number, "output_tokens": 3}) for number in range(1, 11))
    plan = asked(Dataset(write(tmp_path / "some.jsonl", lines), "jsonl", max_total_len=9))
    assert max(len(prompt) for _, prompt, _ in requests(plan)) == 6
    assert plan.notes == ["4 entries longer than 9 tokens were left out"]


def test_an_empty_question_is_refused_before_the_run(tmp_path: Path) -> None:
    lines = '{"prompt": "a", "output_tokens": 1}\n{"prompt": "", "output_tokens": 1}'
    plan = asked(Dataset(write(tmp_path / "some.jsonl", lines), "jsonl"))
    with pytest.raises(InputError, match=r"1 of 2 requests \(first \d\) are empty: leave them out"):
        check_fits(plan, 100)


def test_text_without_a_tokenizer_is_refused(sharegpt: str) -> None:
    with pytest.raises(InputError, match="this model has no tokenizer"):
        make_plan(Workload(Dataset(sharegpt, "sharegpt")))


@pytest.mark.parametrize(
    ("form", "content", "sentence"),
    [
        ("jsonl", '{"prompt": "a"}\n{"prompt": 5}', "file:2: prompt is 5, expected text"),
        ("jsonl", '{"prompt": "a"}\n{"prompt"', "file:2 is not valid JSON"),
        ("jsonl", '["a"]', "file:1 is '[\"a\"]', expected a JSON object"),
        ("jsonl", '{"prompt": "a", "output_tokens": 0}', "file:1: output_tokens is 0, expected an integer from 1 to"),
        ("jsonl", '{"prompt": "a"}', "does not give the length of its answers: set output_len"),
        ("jsonl", "", "holds 0 usable entries"),
        ("sharegpt", "{", "for one object on each line use jsonl"),
        ("sharegpt", '{"a": 1}', "does not hold a JSON list of objects"),
        ("sharegpt", '[{"a": 1}]', "file[0]: conversations is not a list"),
        ("alpaca", '[{"input": "x"}]', "file[0]: instruction is None, expected text"),
    ],
)
def test_a_dataset_that_cannot_be_read_names_the_place(tmp_path: Path, form: str, content: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        asked(Dataset(write(tmp_path / "file", content), form))
    assert sentence in str(refused.value)


def test_a_missing_or_binary_file_and_too_few_entries(tmp_path: Path, sharegpt: str) -> None:
    with pytest.raises(InputError, match="there is no file"):
        asked(Dataset(str(tmp_path / "none"), "alpaca"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match="cannot be read as text"):
        asked(Dataset(str(tmp_path / "binary"), "alpaca"))
    with pytest.raises(InputError, match="holds 2 usable entries, fewer than num_prompts = 3"):
        asked(Dataset(sharegpt, "sharegpt"), num_prompts=3)


MOONCAKE = "\n".join(
    json.dumps(entry)
    for entry in (
        {"timestamp": 27_000, "input_length": 20, "output_length": 5, "hash_ids": [0, 1, 2]},
        {"timestamp": 30_500, "input_length": 18, "output_length": 6, "hash_ids": [0, 1, 3]},
        {"timestamp": 30_000, "input_length": 9, "output_length": 7},
    )
)


def test_a_mooncake_trace_shares_what_its_hashes_share(tmp_path: Path) -> None:
    trace = Trace(write(tmp_path / "trace.jsonl", MOONCAKE), "mooncake", block_tokens=8)
    plan = make_plan(Workload(trace, Replay()))
    first, middle, last = (request for session in plan.sessions for request in session.requests)
    assert [len(one.prompt_token_ids) for one in (first, middle, last)] == [20, 9, 18]
    assert [one.output_len for one in (first, middle, last)] == [5, 7, 6]
    assert first.prompt_token_ids[:16] == last.prompt_token_ids[:16]
    assert first.prompt_token_ids[16:18] != last.prompt_token_ids[16:]
    assert first.prompt_token_ids[:9] != middle.prompt_token_ids


def test_a_trace_is_replayed_at_its_times_from_its_first(tmp_path: Path) -> None:
    trace = Trace(write(tmp_path / "trace.jsonl", MOONCAKE), "mooncake", block_tokens=8)

    def times(plan: Plan) -> list[float]:
        return [(session.arrival_ns or 0) / 1e9 for session in plan.sessions]

    assert times(make_plan(Workload(trace, Replay()))) == [0, 3, 3.5]
    assert times(make_plan(Workload(trace, Replay(speed=2), num_prompts=2))) == [0, 1.5]
    assert times(make_plan(Workload(trace, Burst()))) == [0, 0, 0]


def test_burstgpt_leaves_out_what_failed_and_says_so(tmp_path: Path) -> None:
    rows = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n"
        "45,ChatGPT,1087,0,1087,Conversation log\n"
        "118.5,GPT-4,417,276,693,API log\n"
    )
    plan = make_plan(Workload(Trace(write(tmp_path / "BurstGPT.csv", rows), "burstgpt"), Replay()))
    assert [(len(prompt), length) for _, prompt, length in requests(plan)] == [(472, 18), (417, 276)]
    assert plan.sessions[1].arrival_ns == 113_500_000_000
    assert plan.notes == ["1 of 3 recorded requests had no answer and were left out"]


@pytest.mark.parametrize(
    ("form", "content", "sentence"),
    [
        ("mooncake", '{"timestamp": "0"}', "file:1: timestamp is '0', expected a number"),
        ("mooncake", '{"timestamp": 0, "input_length": 0}', "input_length is 0, expected a whole number of at least 1"),
        (
            "mooncake",
            '{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1]}',
            "file:1: 1 hash_ids for 600 tokens are not one for each 512: set block_tokens",
        ),
        ("mooncake", '{"timestamp": 0, "input_length": 6, "output_length": 1, "hash_ids": 1}', "hash_ids is 1"),
        ("mooncake", "", "holds 0 requests with an answer"),
        ("burstgpt", "a,b\n1,2\n", "has no column 'Timestamp'"),
        ("burstgpt", "Timestamp,Request tokens,Response tokens\n1,x,2\n", "file:2: Request tokens is 'x'"),
        ("burstgpt", "Timestamp,Request tokens,Response tokens\n1,4.7,2\n", "Request tokens is 4.7, expected a whole"),
        ("burstgpt", "Timestamp,Request tokens,Response tokens\n1,2\n", "file:2: Response tokens is ''"),
    ],
)
def test_a_trace_that_cannot_be_read_names_the_place(tmp_path: Path, form: str, content: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        make_plan(Workload(Trace(write(tmp_path / "file", content), form)))
    assert sentence in str(refused.value)


def test_given_texts_are_drawn_at_random_by_the_seed() -> None:
    texts, more = Texts(("a", "bb cc", "ddd")), {"num_prompts": 60, "output_len": 8}
    drawn = [prompt for _, prompt, _ in requests(asked(texts, **more))]
    assert {tuple(prompt) for prompt in drawn} == {(1,), (2, 2), (3,)}
    assert drawn == [prompt for _, prompt, _ in requests(asked(texts, **more))]
    assert drawn != [prompt for _, prompt, _ in requests(asked(texts, **more, seed=1))]


def test_given_texts_need_a_tokenizer() -> None:
    with pytest.raises(InputError, match=r"workload\.prompts\.texts holds text, but this model has no tokenizer"):
        make_plan(Workload(Texts(("a",)), output_len=1, num_prompts=1))
