"""How many requests and tokens a point asks: the exact number, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.setting_checks import check_stop
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.dry_run import request_count
from engine_probe.workload.dataset_file import Dataset
from engine_probe.workload.lengths import Uniform
from engine_probe.workload.prompts import Conversations, SharedPrefix
from engine_probe.workload.request_plan import make_plan
from engine_probe.workload.stop import Steady, Stop
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_spec import Sampling

DRAWN_TURNS = Conversations(Uniform(2, 5), 8)


@pytest.mark.parametrize(
    ("workload", "requests", "tokens"),
    [
        (WorkloadSection(8, 10, 4), 4, 40),
        (WorkloadSection(8, 10, 4, 9), 9, 90),
        (WorkloadSection(None, 10, 4, prompts=SharedPrefix(8, 8)), 4, 40),
        (WorkloadSection(None, 10, 4, prompts=Conversations(3, 8)), 12, 120),
        (WorkloadSection(None, 10, 4, 5, Conversations(3, 8)), 15, 150),
        (WorkloadSection(None, 10, 4, prompts=DRAWN_TURNS), None, None),
        (WorkloadSection(8, Uniform(1, 10), 4), 4, None),
        (WorkloadSection(8, 10, 4, sampling=Sampling(ignore_eos=False)), 4, None),
        (WorkloadSection(None, 10, 4, 7, Dataset("a.json", "sharegpt")), 7, 70),
        (WorkloadSection(None, 10, 4, 7, Dataset("a.json", "sharegpt", turns=2)), None, None),
        (WorkloadSection(None, 10, 4, None, Dataset("a.json", "sharegpt")), None, None),
    ],
)
def test_every_turn_is_a_request_and_what_is_drawn_or_in_a_file_is_not_guessed(
    workload: WorkloadSection, requests: int | None, tokens: int | None
) -> None:
    assert (workload.requests, workload.output_tokens) == (requests, tokens)
    if requests is not None and not workload.from_file:
        assert make_plan(workload.description()).num_requests == requests


def test_what_a_file_holds_is_counted(tmp_path: Path) -> None:
    talk = {"conversations": [{"from": who, "value": "word"} for who in ("human", "gpt") * 3]}
    silent: dict[str, object] = {"conversations": []}
    shared, lines, trace = tmp_path / "shared.json", tmp_path / "lines.jsonl", tmp_path / "trace.jsonl"
    shared.write_text(json.dumps([talk, silent, talk]))
    lines.write_text('{"prompt": "a"}\n\n{"prompt": "b"}\n')
    trace.write_text(
        "".join(
            json.dumps({"timestamp": time, "input_length": 5, "output_length": out}) + "\n"
            for time, out in ((0, 3), (10, 0), (20, 4))
        )
    )

    def asked(prompts: Dataset | Trace, num_prompts: int | None = None) -> int | None:
        return request_count(WorkloadSection(None, None, 2, num_prompts, prompts))

    assert asked(Dataset(str(shared), "sharegpt")) == 2
    assert asked(Dataset(str(shared), "sharegpt", turns=2)) == 4
    assert asked(Dataset(str(shared), "sharegpt", turns=2), 1) is None  # chance says which
    assert asked(Dataset(str(shared), "sharegpt", max_total_len=9)) is None  # the tokenizer says how many
    assert asked(Dataset(str(lines), "jsonl")) == 2
    assert asked(Dataset(str(lines), "jsonl"), 1) == 1
    assert asked(Trace(str(trace), "mooncake")) == 2
    assert asked(Dataset(str(tmp_path / "gone"), "jsonl")) is None


def point(workload: WorkloadSection, **stop: Any) -> Point:
    return Point(EngineSection("tiny"), workload, stop=Stop(**stop))


def test_a_number_of_answers_that_never_come_is_refused_however_many_turns_there_are() -> None:
    talks = WorkloadSection(None, 10, 4, prompts=Conversations(3, 8))
    check_stop(point(talks, requests=11))
    with pytest.raises(InputError, match=r"stop\.requests is 12, and there are no more than 12"):
        check_stop(point(talks, requests=12))
    check_stop(point(WorkloadSection(None, 10, 4, prompts=DRAWN_TURNS), requests=19))
    with pytest.raises(InputError, match="no more than 20"):
        check_stop(point(WorkloadSection(None, 10, 4, prompts=DRAWN_TURNS), requests=20))
    check_stop(point(WorkloadSection(None, 10, 4, None, Dataset("a.json", "alpaca")), requests=1000))


def test_conversations_that_go_on_are_no_burst() -> None:
    check_stop(point(WorkloadSection(None, 10, 4, prompts=Conversations(30, 8)), steady=Steady()))
    with pytest.raises(InputError, match="4 concurrent requests are a burst"):
        check_stop(point(WorkloadSection(None, 10, 4, prompts=Conversations(1, 8)), steady=Steady()))
