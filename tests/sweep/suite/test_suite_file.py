"""Suite files: the shipped ones name what there is, and what is wrong with one is a sentence with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.commands.sweep.suite.suite_argument import read
from engine_probe.errors import InputError
from engine_probe.recordings.suite import FAILED, WAITING
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.sweep.suite.suite_file import find_suite, shipped_suites

SMALL = """
question = "Is it fast?"
[engine]
model = "tiny"
[workload]
input_len = 8
output_len = 8
[axes]
"workload.concurrency" = [1, 2]
"""


def written(folder: Path, suite: str) -> str:
    (folder / "small.toml").write_text(SMALL)
    (folder / "suite.toml").write_text(suite)
    return str(folder / "suite.toml")


def section(sweeps: str = '["small.toml"]', more: str = "") -> str:
    return f'title = "A paper"\n[[sections]]\ntitle = "1. Speed"\nsweeps = {sweeps}\n{more}\n'


@pytest.mark.parametrize("name", shipped_suites())
def test_every_shipped_suite_has_sweeps_and_tables_that_are_there(name: str) -> None:
    state, found = read(name, (), None, ())
    assert {each.state.section for each in found} == set(range(len(state.sections)))
    assert all(each.sweep is not None and points(each.sweep) for each in found)


def test_the_suites_of_all_documents_are_shipped() -> None:
    assert shipped_suites() == ["h100", "l4", "l40s", "stress", "thesis"]


def test_the_four_models_of_the_thesis_are_one_experiment_in_folders_of_their_models() -> None:
    state, found = read("thesis", (), None, ())
    assert state.sections[0].together
    assert [each.state.folder for each in found if each.state.section == 0] == [
        "concurrency/gpt2-xl",
        "concurrency/deepseek-llm-7b-chat",
        "concurrency/qwen1.5-14b-chat",
        "concurrency/falcon-40b",
    ]


@pytest.mark.lengthy
def test_sweeps_of_one_model_have_folders_of_their_own_names() -> None:
    _, found = read("thesis", (), "tiny", ())
    assert found[0].state.folder == "concurrency/concurrency_gpt2_xl"
    assert {point.engine.model for each in found if each.sweep for point in points(each.sweep)} == {"tiny"}


def test_a_sweep_beside_the_suite_file_is_found_and_changed(tmp_path: Path) -> None:
    sweeps = '[{ sweep = "small.toml", name = "one", set = { "workload.output_len" = 16 } }, "small.toml"]'
    _, (changed, plain) = read(written(tmp_path, section(sweeps)), (), None, ())
    assert [each.state.name for each in (changed, plain)] == ["one", "small"]
    assert changed.sweep is not None
    assert plain.sweep is not None
    assert (changed.sweep.workload.output_len, plain.sweep.workload.output_len) == (16, 8)


def test_settings_change_every_sweep_and_only_leaves_the_others_out(tmp_path: Path) -> None:
    sweeps = '[{ sweep = "small.toml", name = "one" }, "small.toml"]'
    _, (found,) = read(written(tmp_path, section(sweeps)), ("workload.output_len=4",), None, ("small",))
    assert found.state.name == "small"
    assert found.sweep is not None
    assert found.sweep.workload.output_len == 4


def test_a_setting_that_one_sweep_does_not_take_leaves_the_others(tmp_path: Path) -> None:
    """The second one has the axis, the first has no such thing as a rate."""
    (tmp_path / "rate.toml").write_text(SMALL.replace('"workload.concurrency" = [1, 2]', "").replace("[axes]", ""))
    sweeps = '[{ sweep = "rate.toml" }, "small.toml"]'
    path = written(tmp_path, section(sweeps))
    _, (rate, small) = read(path, ('exclude=[{"workload.concurrency" = 2}]',), None, ())
    assert (rate.state.status, small.state.status) == (FAILED, WAITING)
    assert "is not an axis of this sweep" in rate.state.reason


@pytest.mark.parametrize(
    ("suite", "sentence"),
    [
        ('title = "x"\nsections = []\n', "sections is empty"),
        (section("[]"), r"sections\[0\].sweeps is empty"),
        (section('["small.toml", "small.toml"]'), r"sections\[0\].sweeps\[1\] and .* are both called small"),
        (section(more='[[sections]]\ntitle = "1. speed"\nsweeps = ["smoke"]'), "have the folder 1._speed"),
        (section('["smok"]'), "there is no sweep 'smok': did you mean smoke"),
        (section(more="togethr = true"), "togethr"),
        (section(more='reference = "thesis_concurency"'), r"sections\[0\].reference: thesis_concurency"),
        (
            section(more='reference = "l40s_serving"'),
            r"sections\[0\].reference: the loads of l40s_serving are in requests/s, and .* in concurrent requests",
        ),
        (section('[{ sweep = "small.toml", set = { "workload.output_len" = -1 } }]'), "output_len"),
        ("title = [", "suite.toml"),
    ],
)
def test_what_is_wrong_with_a_suite_is_refused_with_its_place(tmp_path: Path, suite: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read(written(tmp_path, suite), (), None, ())


def test_unknown_names_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean thesis"):
        find_suite("thesi")
    with pytest.raises(InputError, match="--only smal: this suite has no such sweep: did you mean small"):
        read(written(tmp_path, section()), (), None, ("smal",))
    with pytest.raises(InputError, match="output_lenn"):
        read(written(tmp_path, section()), ("workload.output_lenn=4",), None, ())
    with pytest.raises(InputError, match="no-model"):
        read(written(tmp_path, section()), (), "no-model", ())
