"""What a sweep keeps of its answers, and its deadline: parts of a point's identity, refused where they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.commands.profile import answers_to_keep
from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.setting_checks import check_kept
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.workload.answers import KeepAnswers
from engine_probe.workload.request_plan import make_plan

TEXT = """
question = "Do answers change?"
[engine]
model = "tiny"
[workload]
input_len = 16
output_len = 16
num_prompts = 4
concurrency = 2
{more}
"""
WORK = WorkloadSection(16, 16, 2)


def point(kept: KeepAnswers | None, model: str = "tiny", probe: bool = True, **arguments: Any) -> Point:
    return Point(EngineSection(model, arguments), WORK, answers=kept, probe=probe)


def found(tmp_path: Path, more: str) -> list[Point]:
    path = tmp_path / "sweep.toml"
    path.write_text(TEXT.format(more=more))
    return points(read_sweep(str(path)))


def test_every_point_keeps_what_the_section_says(tmp_path: Path) -> None:
    (one,) = found(tmp_path, '[answers]\nkeep = "tokens"\nlogprobs = true')
    assert one.answers == KeepAnswers("tokens", logprobs=True)


def test_a_deadline_is_of_the_workload_and_may_be_an_axis(tmp_path: Path) -> None:
    found_points = found(tmp_path, '[axes]\n"workload.deadline_seconds" = [0.5, 60]')
    assert [make_plan(each.workload.description()).deadline_ns for each in found_points] == [500_000_000, 60 * 10**9]
    assert [each.label for each in found_points] == ["deadline_seconds 0.5", "deadline_seconds 60"]


def test_they_make_other_points_and_their_absence_leaves_the_identity_of_earlier_sweeps() -> None:
    late = Point(EngineSection("tiny"), msgspec.structs.replace(WORK, deadline_seconds=1.0))
    keys = {each.key for each in (point(None), point(KeepAnswers("tokens")), point(KeepAnswers("text")), late)}
    assert len(keys) == 4
    assert point(None).key == "7f7106a701cf"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (point(KeepAnswers("tokens"), probe=False), "probe = false: nothing is recorded: leave answers out"),
        (point(KeepAnswers("text"), "llama-3.1-8b"), 'keep = "text" asks for text, and llama-3.1-8b has no tokenizer'),
        (
            point(KeepAnswers("text"), skip_tokenizer_init=True),
            "skip_tokenizer_init leaves the engine without a tokenizer",
        ),
        (point(KeepAnswers("tokens", logprobs=True), logprobs_mode="raw_logits"), "logprobs_mode is raw_logits"),
        (point(KeepAnswers("tokens", logprobs=True), max_logprobs=1), "max_logprobs is 1: raise it to 2"),
    ],
)
def test_what_the_engine_cannot_give_is_refused(wrong: Point, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_kept(wrong)


def test_what_the_engine_gives_is_not_refused() -> None:
    check_kept(point(None, probe=False))
    check_kept(point(KeepAnswers("text", logprobs=True), max_logprobs=20))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[answers]\nlogprobs = true", 'logprobs = true needs the tokens that they belong to: add keep = "tokens"'),
        ('[answers]\nkeep = "token"', 'answers.keep is "token", expected text or tokens'),
        ("deadline_seconds = 0", "workload.deadline_seconds is 0"),
    ],
)
def test_a_sweep_file_that_asks_for_something_else_is_refused(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        found(tmp_path, more)


def test_the_options_of_profile() -> None:
    assert answers_to_keep(None, logprobs=False) is None
    assert answers_to_keep("text", logprobs=True) == KeepAnswers("text", logprobs=True)
    with pytest.raises(InputError, match="add --keep-answers tokens"):
        answers_to_keep(None, logprobs=True)
