"""What a user gets wrong with `Probe` is told in one sentence, before anything is attached or written."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from engine_probe import InputError, Probe
from engine_probe.probe_arguments import OPTIONS


class Outside:
    """An engine whose core runs in another process, as vLLM builds it by default."""

    class SyncMPClient:
        resources = None

    def __init__(self) -> None:
        self.engine_core = self.SyncMPClient()


class AsyncOutside:
    class AsyncMPClient:
        resources = None

    def __init__(self) -> None:
        self.engine_core = self.AsyncMPClient()


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("telemtry", "did you mean telemetry?"),
        ("Force", "did you mean force?"),
        ("outt", "did you mean out?"),
        ("workload", "to store it in run.json, pass facts={'workload': ...}"),
    ],
)
def test_an_unknown_keyword_is_refused_and_the_nearest_named(keyword: str, hint: str) -> None:
    wrong: dict[str, Any] = {keyword: False}
    with pytest.raises(TypeError, match=f"Probe has no argument '{keyword}'") as refused:
        Probe(object(), **wrong)
    assert hint in str(refused.value)


def test_the_names_to_choose_from_are_those_of_the_signature() -> None:
    kinds = inspect.signature(Probe).parameters.values()
    assert [each.name for each in kinds if each.kind != each.VAR_KEYWORD] == ["engine", *OPTIONS]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"telemetry": -1}, "telemetry is -1: give True, False or the seconds"),
        ({"telemetry": "yes"}, "telemetry is 'yes': give True, False"),
        ({"telemetry": float("nan")}, "telemetry is nan: give True, False"),
        ({"out": 5}, "out is 5: give a new or empty folder"),
        ({"out": ""}, "out is '': give a new or empty folder"),
        ({"out": "s3://bucket/run"}, "out is 's3://bucket/run': a Probe records into a folder of this machine"),
        ({"force": "no"}, "force is 'no': give True or False"),
        ({"facts": 5}, "facts is 5: give a dict"),
        ({"facts": {1: 2}}, "facts is {1: 2}: give a dict with names as its keys"),
        ({"facts": {"seed": object}}, "seed=<class 'object'> cannot be kept in run.json"),
        ({"facts": {"kv": {}}}, "'kv' is a key of run.json itself"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Probe(object(), **arguments)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (Outside(), 'set os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" before vllm is imported'),
        (Outside(), 'set os.environ["ENGINE_PROBE_RECORD"] = "<folder>" before it is built'),
        (
            AsyncOutside(),
            'an AsyncLLM runs its engine in another process, where a Probe cannot reach it: set os.environ["E',
        ),
        ("tiny", "a str is not a vLLM engine: give the Probe a vllm.LLM"),
        (None, "a NoneType is not a vLLM engine"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_refused(engine: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused, Probe(engine, tmp_path / "run"):
        pass
    assert sentence in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_there_is_no_run_before_the_with_block() -> None:
    with pytest.raises(InputError, match=r"nothing is recorded yet: run the engine in `with Probe\(llm\) as probe:`"):
        _ = Probe(object()).run
