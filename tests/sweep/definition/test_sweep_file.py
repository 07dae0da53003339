"""A sweep file is taken whole or refused with one sentence: which key, which value, what belongs there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from engine_probe.commands.sweep.cli import command
from engine_probe.engine.cpu import cpu_binding
from engine_probe.errors import InputError
from engine_probe.files.shipped import shipped_folder
from engine_probe.sweep.definition.loader import find_sweep, read_sweep, shipped_names
from engine_probe.sweep.definition.perplexity_points import texts
from engine_probe.sweep.definition.setting_checks import check_requests
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.gpu_memory import engine_names
from engine_probe.sweep.preflight.memory_fit import check_gpus
from engine_probe.sweep.preflight.target import this_machine
from engine_probe.workload.prompts import Conversations

GOOD = """
question = "How many?"
[engine]
model = "tiny"
[engine.arguments]
max_model_len = 512
[workload]
input_len = 32
output_len = 48
[axes]
"workload.concurrency" = [1, 4]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    return path


def test_the_grid_becomes_points(file: Path) -> None:
    sweep = read_sweep(str(file))
    assert [point.workload for point in points(sweep)] == [WorkloadSection(32, 48, load, hold=True) for load in (1, 4)]
    assert [point.label for point in points(sweep)] == ["concurrency 1", "concurrency 4"]


@pytest.mark.parametrize(
    ("wanted", "settings", "held"),
    [
        ("[1, 4]", [], True),
        ("[1, 4]", ["workload.num_prompts=8"], False),
        ("[1, 4]", ["workload.num_prompts=8", "workload.hold=true"], True),
        ("[1, 4]", ["workload.hold=false"], False),
        ("[1, 4]", ['workload.arrivals={"kind": "open_loop", "request_rate": 2}'], False),
    ],
)
def test_a_concurrency_is_held_unless_the_file_says_how_many_requests_there_are(
    file: Path, wanted: str, settings: list[str], held: bool
) -> None:
    one, _ = points(read_sweep(str(file), settings))
    assert one.workload.hold is held


def test_what_an_earlier_version_wrote_is_measured_as_it_was(file: Path, tmp_path: Path) -> None:
    """Its points are batches, and keep their keys, so that a sweep can be resumed."""
    batch = points(read_sweep(str(file), ["workload.hold=false"]))
    written = msgspec.to_builtins(read_sweep(str(file), ["workload.hold=false"]))
    del written["workload"]["hold"]
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": written, "points": []}))
    assert [point.key for point in points(read_sweep(str(tmp_path)))] == [point.key for point in batch]
    assert batch[0].key != points(read_sweep(str(file)))[0].key


def test_to_hold_needs_a_concurrency_and_requests_without_end(file: Path) -> None:
    paced = 'workload.arrivals={"kind": "open_loop", "request_rate": 2}'
    with pytest.raises(InputError, match=r"workload\.hold is for concurrency"):
        read_sweep(str(file), [paced, "workload.hold=true"])


def test_a_held_load_has_three_answers_for_each_place_and_as_many_requests_behind_them() -> None:
    held = WorkloadSection(32, 48, 4, hold=True)
    assert (held.sessions, held.requests, held.output_tokens) == (12, 12, 12 * 48)
    assert (held.description().measured, held.description().num_prompts) == (12, 24)
    talks = WorkloadSection(None, 48, 4, prompts=Conversations(2, 8), hold=True)
    assert (talks.sessions, talks.requests) == (8, 16)
    asked = WorkloadSection(32, 48, 4, num_prompts=20, hold=True).description()
    assert (asked.measured, asked.num_prompts) == (20, 32)


def test_a_points_key_follows_its_content(file: Path) -> None:
    one, other = points(read_sweep(str(file)))
    again, _ = points(read_sweep(str(file), ["question=Else?"]))
    smaller, _ = points(read_sweep(str(file), ["engine.arguments.max_model_len=256"]))
    assert one.key == again.key
    assert len({one.key, other.key, smaller.key, msgspec.structs.replace(one, repeat=1).key}) == 4
    assert msgspec.structs.replace(one, label="another").key == one.key


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[workload]", "[workload", "is not valid TOML"),
        ("input_len =", "inputlen =", "workload.inputlen is not known: did you mean input_len"),
        ("question =", "aim =", "aim is not known: a sweep file takes question, engine"),
        ('question = "How many?"', "", "question is missing"),
        ("[1, 4]", '[1, "64"]', 'workload.concurrency is "64", expected a whole number'),
        ("[1, 4]", "[1, 0]", "workload.concurrency is 0, expected a whole number"),
        ("[1, 4]", "[]", "axes.workload.concurrency is empty: give at least one value"),
        ("[1, 4]", "[4, 4]", "axes.workload.concurrency holds a value twice: [4, 4]"),
        ('"workload.concurrency"', '"workload.concurency"', "workload.concurency cannot vary: did you mean"),
        ('"workload.concurrency"', '"engine.arguments.blok_size"', "no engine argument blok_size: did you mean block"),
        ("input_len = 32", "input_len = 1.5", "workload.input_len is 1.5, expected a whole number"),
        ("input_len = 32", "", "workload.input_len is missing"),
        ("output_len = 48", "", "output_len is missing: say how many tokens an answer has"),
        ("output_len = 48", "output_len = 481", "output_len is 513, more than max_model_len = 512: shorten them"),
        (
            "max_model_len = 512",
            "max_model_len = 999_999",
            "max_model_len is 999999, more than gpt2-xl takes: give at most 1024",
        ),
        (
            "output_len = 48\n",
            "output_len = 1000\n",
            "output_len is 1032, more than what gpt2-xl takes = 1024: shorten them",
        ),
        ("[1, 4]", "3", 'axes["workload.concurrency"] is 3, expected a table or a list'),
        (
            "[1, 4]",
            "{ from = 1, to = 4, stp = 1 }",
            'axes["workload.concurrency"].stp is not known: did you mean step',
        ),
        (
            "[axes]",
            'arrivals = { kind = "bursty" }\n[axes]',
            'workload.arrivals.kind is "bursty", expected burst, closed_loop, steps, open_loop, constant, ramp or '
            "replay: did you mean burst?",
        ),
        (
            "[axes]",
            'arrivals = { kind = "closed_loop", users = 3, think = "exponental" }\n[axes]',
            'workload.arrivals.think is "exponental", expected exponential or fixed: did you mean exponential?',
        ),
        (
            "[axes]",
            'prompts = { kind = "trace", path = "x", format = "sharegpt" }\n[axes]',
            'workload.prompts.format is "sharegpt", expected burstgpt, mooncake, sessions or weka',
        ),
        (
            "input_len = 32",
            'input_len = { kind = "uniforn", low = 1, high = 2 }',
            'input_len.kind is "uniforn", expected uniform, normal, lognormal or geometric: did you mean uniform',
        ),
        (
            "[axes]",
            'arrivals = { kind = "constant", request_rat = 2.0 }\n[axes]',
            "workload.arrivals.request_rat is not known: did you mean request_rate?",
        ),
        ("[axes]", "tensor_parallel_size = 2\n[axes]", "workload.tensor_parallel_size is not known"),
        ("= 512", "= 512\ntensor_parallel_size = 0", "tensor_parallel_size is 0: give a whole number from 1 on"),
        ("= 512", "= 512\ngpu_memory_utilization = 90", "gpu_memory_utilization is 90, a share: give 0.9 or so"),
        ("= 512", '= 512\ndtype = "halve"', 'dtype is "halve": vLLM takes auto, half'),
        ('model = "tiny"', "model = 3", "engine.model is 3, expected text"),
        ('model = "tiny"', 'model = "tinny"', "unknown model 'tinny': did you mean tiny?"),
    ],
)
def test_what_is_wrong_is_named(file: Path, old: str, new: str, sentence: str) -> None:
    text = GOOD.replace(old, new)
    if "gpt2-xl" in sentence:  # whose configuration is here before anything is prepared
        text = text.replace('"tiny"', '"gpt2-xl"').replace("max_model_len = 512\n", "")
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        read_sweep(str(file))
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_an_axis_needs_no_quotation_marks(file: Path) -> None:
    quoted = points(read_sweep(str(file)))
    file.write_text(GOOD.replace('"workload.concurrency"', "workload.concurrency"))
    assert points(read_sweep(str(file))) == quoted


@pytest.mark.lengthy
def test_a_wrong_engine_argument_is_refused_before_an_engine_starts(file: Path) -> None:
    pytest.importorskip("vllm")
    file.write_text(GOOD.replace("max_model_len", "max_model_length"))
    with pytest.raises(InputError, match=r"mine.toml: engine.arguments: .* did you mean max_model_len"):
        read_sweep(str(file))


def test_no_such_sweep_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"there is no sweep 'smok': did you mean smoke\?"):
        read_sweep("smok")
    with pytest.raises(InputError, match=r"the shipped sweeps are .*smoke"):
        read_sweep("xyz")


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_sweep_reads_and_tells_its_cost_and_expectation(name: str) -> None:
    sweep = read_sweep(name)
    assert sweep.question.endswith("?")
    assert sweep.interleave  # repeats of one level after another would share what the machine does then
    file = find_sweep(name)
    text = file.read_text()
    schema = re.match(r"#:schema (\S+)\n# Cost:", text)
    assert schema
    assert (file.parent / schema[1]).samefile(shipped_folder() / "sweep.schema.json")
    assert "# Expected" in text


@pytest.mark.lengthy
def test_the_list_tells_each_question() -> None:
    outcome = CliRunner().invoke(command, ["--list"])
    assert outcome.exit_code == 0
    assert [line.split()[0] for line in outcome.output.splitlines()] == shipped_names()
    assert read_sweep("smoke").question in outcome.output


def test_a_folder_that_holds_something_is_refused(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "result").write_text("precious")
    for taken in (kept, file):
        outcome = CliRunner().invoke(command, [str(file), "--out", str(taken)])
        assert isinstance(outcome.exception, InputError)
        assert f"{taken} already holds something and is never overwritten" in str(outcome.exception)
    assert [path.name for path in kept.iterdir()] == ["result"]


def test_a_key_in_the_wrong_place_is_told_its_place(file: Path) -> None:
    with pytest.raises(InputError, match=r"model is not known: did you mean engine.model\?"):
        read_sweep(str(file), ["model=tiny"])


def first_column(text: str) -> list[str]:
    """Return the first cell of each row below the lines of tables."""
    rows = text[text.find("───") :].splitlines()[1:]
    return [cells[0].strip() for line in rows if len(cells := line.rstrip().split("  ")) > 1]


@pytest.mark.lengthy
@pytest.mark.parametrize("name", shipped_names())
def test_every_point_of_every_shipped_sweep_is_shown_by_a_dry_run(name: str, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(command, [name, "--dry-run", "--like", str(tmp_path)], env={"COLUMNS": "160"})
    assert outcome.exit_code == 0, outcome.output
    sweep = read_sweep(name)
    memory = this_machine(tmp_path).memories(points(sweep))
    labels, engines = [point.label for point in (*points(sweep), *texts(sweep))], engine_names([*memory])
    of_points, _, of_engines = outcome.output.partition("\nMemory")
    assert first_column(of_points) == labels
    assert first_column(of_engines)[: len(engines)] == engines  # the argument space of a search follows


@pytest.mark.parametrize(
    ("kind", "line", "sentence"),
    [
        ("dataset", "{broken", "asked.jsonl:1 is not valid JSON"),
        ("dataset", '{"prompt": 7}', "asked.jsonl:1: prompt is 7, expected text"),
        ("trace", '{"timestamp": 0, "input_length": 500, "output_length": 100}', "longer than max_model_len = 512"),
    ],
)
def test_what_a_file_holds_is_looked_at_before_an_engine_starts(
    file: Path, tmp_path: Path, kind: str, line: str, sentence: str
) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text(line)
    form = {"dataset": "jsonl", "trace": "mooncake"}[kind]
    prompts = f'prompts = {{ kind = "{kind}", path = "{asked}", format = "{form}" }}'
    file.write_text(GOOD.replace("input_len = 32\noutput_len = 48", prompts))
    with pytest.raises(InputError, match=re.escape(sentence)):
        check_requests(points(read_sweep(str(file))))


def test_lengths_that_are_drawn_are_drawn_before_an_engine_starts(file: Path) -> None:
    file.write_text(GOOD.replace("input_len = 32", "input_len = { low = 460, high = 500, kind = 'uniform' }"))
    found = points(read_sweep(str(file), ["workload.num_prompts=50"]))
    with pytest.raises(InputError, match=r"\d+ of 50 requests are longer than max_model_len = 512"):
        check_requests(found)


def test_a_place_that_cannot_be_written_is_refused(file: Path) -> None:
    outcome = CliRunner().invoke(command, [str(file), "--out", "/proc/sweep"])
    assert isinstance(outcome.exception, InputError)
    assert "cannot write to /proc/sweep" in str(outcome.exception)


def test_more_ranks_than_cores_are_refused_before_an_engine_starts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_binding, "cpu_build", lambda: True)
    monkeypatch.delenv(cpu_binding.BINDING, raising=False)
    found = points(read_sweep(str(file), ["engine.arguments.tensor_parallel_size=4096"]))
    with pytest.raises(InputError, match="4096 ranks need a core each"):
        check_gpus(found, [])


def test_model_replaces_the_files(file: Path) -> None:
    by_option, by_setting = read_sweep(str(file), model="gpt2-xl"), read_sweep(str(file), ["engine.model=gpt2-xl"])
    assert by_option == by_setting
    assert by_option.engine.model == "gpt2-xl"


def test_model_is_refused_where_the_models_are_an_axis(file: Path) -> None:
    file.write_text(GOOD + '"engine.model" = ["tiny", "smollm2"]\n')
    with pytest.raises(InputError, match=r"is an axis of this sweep \(engine\.model = \[\"tiny\", \"smollm2\"\]\)"):
        read_sweep(str(file), model="tiny")
    assert read_sweep(str(file), ["engine.model=tiny"], model="tiny").engine.model == "tiny"
