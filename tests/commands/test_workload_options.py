"""What `profile` makes of the options of its workload, and what it refuses before an engine starts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine_probe.commands.options.workload_options import DATASETS, WorkloadOptions
from engine_probe.errors import InputError
from engine_probe.sweep.definition.setting_checks import check_requests
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.workload.arrivals import OpenLoop, Replay
from engine_probe.workload.dataset_file import Dataset
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.traces.trace_file import Trace

QUESTIONS = ["What is paging?", "Who wrote Hamlet?", "Name three primes."]
NOTHING: dict[str, Any] = {
    "dataset_name": "random",
    "dataset_path": None,
    "num_prompts": None,
    "input_len": None,
    "output_len": None,
    "deadline_seconds": None,
    "seed": 0,
    "max_concurrency": None,
    "request_rate": math.inf,
    "burstiness": 1.0,
    "replay": False,
}


def options(**given: Any) -> WorkloadOptions:
    return WorkloadOptions(**{**NOTHING, **given})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """One of each kind, with three requests."""
    talks = [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": "So."}]} for q in QUESTIONS]
    trace = [{"timestamp": 300 * n, "input_length": 20 + n, "output_length": 4} for n in range(3)]
    texts = {
        "sharegpt": json.dumps(talks),
        "alpaca": json.dumps([{"instruction": q, "output": "So."} for q in QUESTIONS]),
        "custom": "\n".join(json.dumps({"prompt": q, "output_tokens": 5}) for q in QUESTIONS),
        "mooncake": "\n".join(map(json.dumps, trace)),
        "burstgpt": "Timestamp,Request tokens,Response tokens\n0,20,4\n1,21,4\n2,22,4\n",
    }
    texts["jsonl"] = texts["custom"]
    agents = [{"type": "s", "in": 5, "out": 4, "hash_ids": [1], "think_time": 0}]
    texts["weka"] = "\n".join(json.dumps({"id": n, "block_size": 8, "requests": agents}) for n in range(3))
    texts["sessions"] = "\n".join(json.dumps({"session_id": line["input_length"], **line}) for line in trace)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {name: str(tmp_path / name) for name in texts}


def test_nothing_said_is_32_random_requests_at_once() -> None:
    work = options().workload()
    assert (work.input_len, work.output_len, work.num_prompts, work.concurrency) == (128, 128, 32, 32)
    assert (work.prompts, work.arrivals) == (None, None)


def test_a_rate_opens_the_loop() -> None:
    assert options(request_rate=3.0, burstiness=0.5).workload().arrivals == OpenLoop(3.0, 0.5)


@pytest.mark.parametrize("name", DATASETS)
def test_every_kind_of_file_is_asked_whole_where_it_is_short(name: str, files: dict[str, str]) -> None:
    work = options(dataset_name=name, dataset_path=files[name]).workload()
    assert (work.num_prompts, work.concurrency, work.input_len, work.output_len) == (3, 3, None, None)
    assert isinstance(work.prompts, Dataset | Trace)
    assert work.prompts.format == DATASETS[name][1]
    check_requests([Point(EngineSection("tiny"), work)])


def test_questions_come_from_several_sets_and_may_end_early() -> None:
    work = options(dataset_name="questions", dataset_path="english,malay", max_concurrency=2).workload()
    assert work.prompts == Questions(("english", "malay"))
    assert (work.num_prompts, work.concurrency, work.output_len, work.sampling.ignore_eos) == (48, 2, 128, False)
    check_requests([Point(EngineSection("smollm2"), work)])
    with pytest.raises(InputError, match="gpt2-xl has no tokenizer"):
        check_requests([Point(EngineSection("gpt2-xl"), work)])


def test_output_len_wins_over_the_file() -> None:
    assert options(output_len=7).workload().output_len == 7


def test_a_trace_is_replayed(files: dict[str, str]) -> None:
    work = options(dataset_name="mooncake", dataset_path=files["mooncake"], replay=True, max_concurrency=2).workload()
    assert (work.arrivals, work.concurrency) == (Replay(), 2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"dataset_path": "x"}, "--dataset-path x needs --dataset-name, its kind: sharegpt, custom"),
        ({"dataset_name": "custom"}, "--dataset-name custom needs --dataset-path, a local file"),
        ({"dataset_name": "custom", "dataset_path": "nowhere.jsonl"}, "there is no file nowhere.jsonl"),
        ({"dataset_name": "custom", "dataset_path": "custom", "input_len": 9}, "--input-len is for random prompts"),
        ({"dataset_name": "custom", "dataset_path": "custom", "num_prompts": 9}, "holds 3 usable entries"),
        ({"dataset_name": "sharegpt", "dataset_path": "custom"}, "cannot be read as JSON"),
        ({"dataset_name": "burstgpt", "dataset_path": "burstgpt", "output_len": 9}, "a trace has its own lengths"),
        ({"dataset_name": "custom", "dataset_path": "custom", "replay": True}, "--replay needs recorded times"),
        (
            {"dataset_name": "burstgpt", "dataset_path": "burstgpt", "replay": True, "request_rate": 1.0},
            "--replay and --request-rate contradict each other",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    given: dict[str, Any], sentence: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(files["custom"]).parent)
    with pytest.raises(InputError) as refused:
        options(**given).workload()
    assert sentence in str(refused.value)


def test_lines_without_lengths_need_output_len(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"prompt": "Why?"}')
    with pytest.raises(InputError, match=r"does not give the length of its answers: set output_len \(--output-len\)"):
        options(dataset_name="custom", dataset_path=str(path)).workload()
    assert options(dataset_name="custom", dataset_path=str(path), output_len=3).workload().num_prompts == 1


def test_a_model_without_a_tokenizer_gets_no_text(files: dict[str, str]) -> None:
    work = options(dataset_name="custom", dataset_path=files["custom"]).workload()
    with pytest.raises(InputError, match="gpt2-xl has no tokenizer"):
        check_requests([Point(EngineSection("gpt2-xl"), work)])
    check_requests([Point(EngineSection("gpt2-xl", {"tokenizer": "folder"}), work)])
