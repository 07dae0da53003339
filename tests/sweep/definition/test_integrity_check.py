"""`check_integrity`: what is kept and repeated, and what is refused before an engine starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.workload.answers import KeepAnswers

SWEEP = """
question = "Do answers stay the same?"
[engine]
model = "tiny"
[workload]
input_len = 16
output_len = 8
num_prompts = 8
[axes]
"workload.concurrency" = [8, 1, 4]
"""
CHECKED = ("check_integrity=true",)


def sweep_file(folder: Path, text: str = SWEEP) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_tokens_and_log_probabilities_are_kept(tmp_path: Path) -> None:
    found = points(read_sweep(sweep_file(tmp_path), CHECKED))
    assert {point.answers for point in found} == {KeepAnswers("tokens", logprobs=True)}
    kept = points(read_sweep(sweep_file(tmp_path), (*CHECKED, "answers.keep=text", "engine.model=smollm2")))
    assert {point.answers for point in kept} == {KeepAnswers("text", logprobs=True)}


def test_the_lowest_load_is_measured_twice_and_the_others_once(tmp_path: Path) -> None:
    found = points(read_sweep(sweep_file(tmp_path), CHECKED))
    assert [(point.load, point.repeat) for point in found] == [(8, 0), (1, 0), (4, 0), (1, 1)]
    assert [point.label for point in found if point.load == 1] == ["concurrency 1, 1 of 2", "concurrency 1, 2 of 2"]
    assert len({point.key for point in found}) == 4


def test_repeats_of_the_sweep_suffice(tmp_path: Path) -> None:
    found = points(read_sweep(sweep_file(tmp_path), (*CHECKED, "repeats=3")))
    assert sorted(point.load for point in found) == [1, 1, 1, 4, 4, 4, 8, 8, 8]


def test_each_curve_has_its_own_reference(tmp_path: Path) -> None:
    found = points(read_sweep(sweep_file(tmp_path), (*CHECKED, 'engine.arguments.dtype=["bfloat16", "float32"]')))
    assert sorted(point.load for point in found) == [1, 1, 1, 1, 4, 4, 8, 8]


def test_without_the_check_nothing_changes(tmp_path: Path) -> None:
    found = points(read_sweep(sweep_file(tmp_path)))
    assert [(point.load, point.answers) for point in found] == [(8, None), (1, None), (4, None)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["workload.sampling.temperature=0.7"], "temperature is 0.7, and check_integrity compares greedy answers"),
        (["workload.concurrency=4"], "compares the answers of several loads, and there is only 4"),
        (["probe=false"], "probe = false: nothing is recorded"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_sweep(sweep_file(tmp_path), (*CHECKED, *settings))


def test_prompts_that_differ_between_loads_are_refused(tmp_path: Path) -> None:
    text = SWEEP.replace("num_prompts = 8\n", "")
    with pytest.raises(InputError, match=r"workload\.num_prompts is .* by the load: give one number"):
        read_sweep(sweep_file(tmp_path, text), CHECKED)


def test_conversations_are_refused(tmp_path: Path) -> None:
    text = SWEEP.replace("input_len = 16", 'prompts = { kind = "conversations", turns = 2, input_len = 16 }')
    with pytest.raises(InputError, match="later turns of conversations hold earlier answers"):
        read_sweep(sweep_file(tmp_path, text), CHECKED)


def test_a_search_is_refused(tmp_path: Path) -> None:
    begin = SWEEP.partition("[axes]")[0]
    text = begin + '[adaptive]\naxis = "workload.concurrency"\nfrom = 1\nto = 8\n'
    with pytest.raises(InputError, match="loads that are given, not searched"):
        read_sweep(sweep_file(tmp_path, text), CHECKED)
