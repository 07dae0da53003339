"""Datasets and traces from elsewhere: valid ones are read; those that would exhaust memory are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine_probe.errors import InputError
from engine_probe.workload.arrivals import Replay
from engine_probe.workload.dataset_file import Dataset, read_entries
from engine_probe.workload.request_plan import Plan, make_plan
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_spec import Workload


def planned(prompts: Any, **more: Any) -> Plan:
    return make_plan(Workload(prompts, **more), encode=lambda text: [len(word) for word in text.split()])


def write(path: Path, *lines: object) -> str:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return str(path)


@pytest.mark.parametrize("within", ["\u2028", "\u2029", "\u0085", "\u001c", "\f"])
def test_a_line_ends_at_a_line_feed_only(tmp_path: Path, within: str) -> None:
    text = json.dumps({"prompt": f"a{within}b", "output_tokens": 1}, ensure_ascii=False)
    path = write(tmp_path / "set.jsonl", text, text)
    assert [entry[0].question for entry in read_entries(Dataset(path, "jsonl"))] == [f"a{within}b"] * 2


def test_a_field_of_a_csv_file_may_hold_what_elsewhere_ends_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "Timestamp,Model,Request tokens,Response tokens", '1,"a\u2028b\nc",3,4')
    assert planned(Trace(path, "burstgpt")).num_requests == 1


TOO_MUCH = "more than any model takes"
REFUSED: dict[str, tuple[Any, list[object], str]] = {
    "a prompt of three billion": (
        "mooncake",
        [{"timestamp": 0, "input_length": 3_000_000_000, "output_length": 1}],
        f":1: input_length is 3,000,000,000 tokens, {TOO_MUCH}",
    ),
    "an answer of 2**62": ("mooncake", [{"timestamp": 0, "input_length": 1, "output_length": 2**62}], TOO_MUCH),
    "a prompt of 1e300": (
        "burstgpt",
        ["Timestamp,Request tokens,Response tokens", "1,1e300,1"],
        "Request tokens is 1e+300 tokens",
    ),
    "a thousand long prompts": (
        "mooncake",
        [{"timestamp": 0, "input_length": 2**24, "output_length": 1}] * 10_000,
        "more than",
    ),
    "a moment in 1e90": (
        "mooncake",
        [{"timestamp": at, "input_length": 1, "output_length": 1} for at in (0, 1e90)],
        "s after the start",
    ),
    "an integer of 400 digits": (
        "mooncake",
        ['{"timestamp": 1' + "0" * 400 + "}"],
        "timestamp is an integer of 401 digits",
    ),
    "1e300": (
        "mooncake",
        ['{"timestamp": 1e300}'],
        ":1 is not valid JSON (timestamp is the number 1e300, beyond 1e+100)",
    ),
    "deep JSON": ("mooncake", ["[" * 100_000], "more than 64 lists and objects within each other"),
    "a field of two million": (
        "burstgpt",
        ["Timestamp,Request tokens,Response tokens", "1," + "9" * 2_000_000 + ",1"],
        ":2 cannot be read as CSV (field larger than field limit",
    ),
    "two columns of one name": (
        "burstgpt",
        ["Timestamp,Request tokens,Response tokens,Timestamp", "1,1,1,1"],
        "two columns 'Timestamp'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_trace_is_one_sentence(tmp_path: Path, name: str) -> None:
    form, lines, sentence = REFUSED[name]
    with pytest.raises(InputError) as refused:
        planned(Trace(write(tmp_path / "trace", *lines), form), arrivals=Replay())
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 400


def test_blocks_are_no_longer_than_the_prompts_that_share_them(tmp_path: Path) -> None:
    path = write(tmp_path / "t", {"timestamp": 0, "input_length": 20, "output_length": 1, "hash_ids": [7]})
    long, short = (planned(Trace(path, "mooncake", block)) for block in (10**15, 20))
    assert long.sessions[0].requests[0].prompt_token_ids == short.sessions[0].requests[0].prompt_token_ids


def test_a_field_longer_than_csv_s_own_limit_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "Timestamp,Log,Request tokens,Response tokens", "1," + "x" * 200_000 + ",3,4")
    assert planned(Trace(path, "burstgpt")).num_requests == 1


def conversation(**message: object) -> dict[str, object]:
    return {"conversations": [{"from": "human", "value": "a"} | message, {"from": "gpt", "value": "b"}]}


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (conversation(**{"from": []}), "[0]: from is [], expected text"),
        (conversation(value=None), "[0]: value is None, expected text"),
        (conversation(value="\ud800"), "half of a surrogate pair"),
    ],
)
def test_a_hostile_conversation_is_one_sentence(tmp_path: Path, entry: object, sentence: str) -> None:
    path = write(tmp_path / "set.json", [entry])
    with pytest.raises(InputError) as refused:
        planned(Dataset(path, "sharegpt"), output_len=1)
    assert sentence in str(refused.value)


def test_an_answer_that_nobody_can_give_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", {"prompt": "a", "output_tokens": 2**63})
    with pytest.raises(InputError, match=r":1: output_tokens is 9223372036854775808, expected an integer from 1 to"):
        planned(Dataset(path, "jsonl"))


def test_a_device_is_not_read() -> None:
    with pytest.raises(InputError, match="/dev/zero is a device, not a file"):
        planned(Dataset("/dev/zero", "jsonl"))
