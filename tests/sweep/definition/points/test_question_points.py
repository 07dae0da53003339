"""A sweep of question sets: counted by a dry run, checked before an engine starts, sent to other machines."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from engine_probe.commands.sweep.sweep_argument import read
from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.setting_checks import check_requests
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, points
from engine_probe.sweep.fleet.transfers import datasets_of, reading
from engine_probe.sweep.preflight.dry_run import request_count
from engine_probe.workload.question_set.question_prompts import Questions

LINE = {"id": "q", "language": "en", "subject": "s", "question": "Why?", "answer": {"contains": "because"}}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(LINE))
    return path


def sweep_points(*settings: str) -> list[Point]:
    return points(read_sweep("answer_quality", ["workload.concurrency=4", *settings]))


def test_several_files_are_read_and_their_requests_counted() -> None:
    (point,) = sweep_points()
    assert request_count(point.workload) == 84
    assert not point.workload.hold
    apart = sweep_points('workload.prompts.path=["english", "french"]')  # a list in --set is an axis
    assert [request_count(each.workload) for each in apart] == [28, 28]


def test_a_broken_line_is_refused_before_an_engine_starts(mine: Path) -> None:
    (point,) = sweep_points(f"workload.prompts.path={mine}")
    check_requests([point])
    mine.write_text(json.dumps({**LINE, "answer": {"choice": "B"}}))
    with pytest.raises(InputError, match=r"mine.jsonl:1: answer.choice is 'B'"):
        check_requests([point])


def test_a_dry_run_refuses_a_broken_line_of_a_file_that_is_here(mine: Path) -> None:
    setting = (f"workload.prompts.path={mine}",)
    read("answer_quality", setting, None)
    mine.write_text(json.dumps({**LINE, "answer": {}}))
    with pytest.raises(InputError, match=r"mine.jsonl:1: answer has no key"):
        read("answer_quality", setting, None)
    mine.unlink()
    read("answer_quality", setting, None)


def test_a_tokenizer_that_an_argument_takes_away_is_said_to_be_missing_by_it() -> None:
    with pytest.raises(InputError, match="skip_tokenizer_init leaves the engine without a tokenizer: leave it out"):
        sweep_points("engine.arguments.skip_tokenizer_init=true")


def test_a_model_that_cannot_chat_is_refused_before_an_engine_starts(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text("{}")
    (point,) = sweep_points()
    for model in ("tiny", str(folder)):
        with pytest.raises(InputError, match=f"english asks questions, but {model} has no chat template"):
            check_requests([msgspec.structs.replace(point, engine=EngineSection(model))])
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    check_requests([msgspec.structs.replace(point, engine=EngineSection(str(folder)))])
    check_requests([point])


def test_questions_go_to_other_machines_and_are_read_there(mine: Path) -> None:
    (point,) = sweep_points(f"workload.prompts.path={mine}")
    sent: set[str] = set()
    assert datasets_of(point, sent) == {str(mine): mine.read_bytes()}
    assert datasets_of(point, sent) == {}
    there = reading(point, {str(mine): "/scratch/mine.jsonl"}).workload.prompts
    assert isinstance(there, Questions)
    assert there.paths == ("/scratch/mine.jsonl",)
    shipped = datasets_of(sweep_points()[0], sent)
    assert list(shipped) == ["english", "french", "malay"]
    assert all(content.startswith(b'{"id": "') for content in shipped.values())
