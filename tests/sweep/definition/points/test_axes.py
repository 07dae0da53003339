"""Which points a sweep has: products, ranges, what is left out and what is added."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.axes import Range, combinations, label
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.setting_checks import check_points
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, SweepFile, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.dry_run import lengths
from engine_probe.sweep.preflight.memory_fit import check_fit, pool_tokens, tokens_each, tokens_in_flight
from engine_probe.workload.lengths import Length, Uniform
from engine_probe.workload.prompts import Conversations, SharedPrefix
from engine_probe.workload.workload_spec import Prompts

BASE = """
question = "?"
[engine]
model = "tiny"
[engine.arguments]
block_size = 32
num_gpu_blocks_override = 9
[workload]
input_len = 50
output_len = 20
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Any:
    def read(more: str = "", *settings: str) -> SweepFile:
        path = tmp_path / "mine.toml"
        path.write_text(BASE + more)
        return read_sweep(str(path), settings)

    return read


def labels(sweep: SweepFile) -> list[str]:
    return [point.label for point in points(sweep)]


def test_the_last_axis_varies_fastest() -> None:
    found = combinations({"a": [1, 2], "b": ["x", "y"]}, [], [])
    assert [tuple(values.values()) for values in found] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (Range(8, 32, step=8), [8, 16, 24, 32]),
        (Range(1, 20, factor=2), [1, 2, 4, 8, 16]),
        (Range(5, 5, step=1), [5]),
    ],
)
def test_a_range_holds_both_its_ends(given: Range, values: list[int]) -> None:
    assert given.values("a") == values


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (Range(1, 8), "either step or factor"),
        (Range(1, 8, step=1, factor=2), "either step or factor"),
        (Range(1, 8, step=0), "never reaches 8"),
        (Range(0, 8, factor=2), "never reaches 8"),
        (Range(9, 8, step=1), "is empty"),
        (Range(1, 10**30, step=1), "more than 10,000"),  # refused without a list of so many
    ],
)
def test_a_range_that_cannot_be_is_refused(given: Range, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        given.values("a")


def test_what_is_excluded_is_no_point_and_what_is_included_is(sweep: Any) -> None:
    axes = '[axes]\n"workload.concurrency" = [1, 2]\n"engine.arguments.max_num_seqs" = [4, 8]\n'
    rules = '[[exclude]]\n"workload.concurrency" = 2\n"engine.arguments.max_num_seqs" = [4]\n'
    more = '[[include]]\n"workload.concurrency" = 3\n"engine.arguments.max_num_seqs" = 8\n'
    assert labels(sweep(axes + rules + more)) == [
        "concurrency 1, max_num_seqs 4",
        "concurrency 1, max_num_seqs 8",
        "concurrency 2, max_num_seqs 8",
        "concurrency 3, max_num_seqs 8",
    ]


def test_what_is_a_table_is_spelled_out_in_a_label() -> None:
    prompts = [
        {"kind": "random", "input_len": {"kind": "uniform", "low": 3, "high": 9}},
        {"kind": "trace", "path": "/some/where/day.csv", "format": "burstgpt"},
    ]
    told = [label({"workload.prompts": one}, ["workload.prompts"]) for one in prompts]
    assert told == ["prompts random input_len uniform low 3 high 9", "prompts trace path day.csv format burstgpt"]


def test_an_argument_that_is_not_set_is_none_in_a_label() -> None:
    name = "engine.arguments.quantization"
    assert [label({name: one}, [name]) for one in (None, "fp8")] == ["quantization none", "quantization fp8"]


def test_points_of_one_engine_come_one_after_the_other(sweep: Any) -> None:
    axes = '[axes]\n"workload.concurrency" = [1, 2]\n"engine.arguments.max_num_seqs" = [4, 8]\n'
    engines = [point.engine.spec for point in points(sweep(axes))]
    assert engines[0] == engines[1] != engines[2] == engines[3]


def test_repeats_are_points_of_their_own(sweep: Any) -> None:
    found = points(sweep('[axes]\n"workload.concurrency" = [1, 2]\n', "repeats=2"))
    assert [point.label for point in found][:2] == ["concurrency 1, 1 of 2", "concurrency 2, 1 of 2"]
    assert len({point.key for point in found}) == 4


def test_a_setting_makes_an_axis_or_ends_one(sweep: Any) -> None:
    axes = '[axes]\n"workload.concurrency" = [1, 2]\n'
    assert labels(sweep(axes, "workload.concurrency=3")) == ["concurrency 3"]
    assert labels(sweep("", "workload.input_len=[8, 16]")) == ["input_len 8", "input_len 16"]
    assert labels(sweep("", 'axes.workload.concurrency={"from": 1, "to": 4, "factor": 4}')) == [
        "concurrency 1",
        "concurrency 4",
    ]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ('[[exclude]]\n"workload.seed" = 2\n', "exclude[0]: workload.seed is not an axis of this sweep: none are"),
        ('[axes]\n"workload.seed" = [1, 2]\n[[include]]\n', "include[0]: a point to include needs a value for"),
        ('[axes]\n"workload.seed" = [1]\n[[exclude]]\n"workload.seed" = 1\n', "no point is left"),
        ('[axes]\n"workload.seed" = {from = 1, to = 20_000, step = 1}\n', "20,000 points, more than 10,000"),
        (
            '[axes]\n"workload.seed" = [1]\n[[exclude]]\n"workload.seed" = 2\n',
            "workload.seed is never 2: its values",
        ),
        ('[axes]\n"question" = ["a", "b"]\n', "question cannot vary"),
        ("repeats = 0\n", "workload.repeats is not known"),
    ],
)
def test_what_is_wrong_is_named(sweep: Any, more: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        sweep(more)


def test_more_repeats_than_anyone_can_wait_for_are_refused_without_making_them(sweep: Any) -> None:
    with pytest.raises(InputError, match="2 points 100,000,000 times are more than 10,000: lower repeats"):
        sweep('[axes]\n"workload.concurrency" = [1, 2]\n', "repeats=100000000")


@pytest.mark.parametrize(
    ("more", "settings", "place"),
    [
        ('[axes]\n"workload.concurrency" = [8, 16]\n', [], "workload.concurrency = 16"),
        ("", ['workload.arrivals={"kind": "closed_loop", "users": 16}'], "workload.arrivals.users = 16"),
        ('[adaptive]\naxis = "workload.concurrency"\nfrom = 1\nto = 16\n', [], "adaptive.to for workload.concurrency"),
    ],
)
def test_a_load_that_has_too_few_requests_to_be_reached_is_refused(
    sweep: Any, more: str, settings: list[str], place: str
) -> None:
    sweep(more, "workload.num_prompts=16", *settings)
    with pytest.raises(InputError, match=f"only 8 are ever in flight at {place}"):
        sweep(more, "workload.num_prompts=8", *settings)


def test_a_conversation_that_outgrows_the_model_is_refused() -> None:
    """6 turns of 16 + 24 tokens are 240."""
    talk = WorkloadSection(None, 24, 4, prompts=Conversations(6, 16))
    with pytest.raises(InputError, match="a conversation in its last turn is 240, more than max_model_len = 239"):
        check_points([Point(EngineSection("tiny", {"max_model_len": 239}), talk)])
    check_points([Point(EngineSection("tiny", {"max_model_len": 240}), talk)])


def test_a_point_of_which_not_one_request_fits_is_refused_before_anything_starts(sweep: Any) -> None:
    (point,) = points(sweep())
    assert tokens_each(point) == 96  # three blocks of 32
    assert pool_tokens(point) == 256  # eight, and vLLM's null block
    check_fit([point])
    with pytest.raises(InputError, match="one request needs 320 KV tokens and the pool holds 256"):
        check_fit(points(sweep("", "workload.output_len=270")))


def test_what_a_conversation_holds_at_its_end_and_what_the_dry_run_says_of_it() -> None:
    """6 turns of 16 + 24 tokens are 240: 8 blocks of 32, and 16 of them fill 128 blocks."""
    sixteen = next(point for point in points(read_sweep("smoke")) if point.workload.max_in_flight == 16)
    assert (tokens_each(sixteen), tokens_in_flight(sixteen, 16), pool_tokens(sixteen)) == (256, 4096, 4096)
    work = sixteen.workload.description()
    assert (work.measured, work.num_prompts) == (16, 32)
    assert lengths(sixteen.workload) == "6 x (16 + 24)"


@pytest.mark.parametrize(
    ("prompts", "words", "each", "of_four"),
    [
        (Conversations(6, 16, system_len=100), "100 + 6 x (16 + 24)", 340, None),
        (SharedPrefix(100, 16), "100 + 16 + 24", 140, None),
        (Conversations(Uniform(2, 6), 16), "drawn x (16 + 24)", None, None),
        (None, "8 + 24", 32, 128),
    ],
)
def test_what_is_shared_is_not_counted_for_each(
    prompts: Prompts | None, words: str, each: int | None, of_four: int | None
) -> None:
    work = WorkloadSection(input_len=None if prompts else 8, prompts=prompts, output_len=24, concurrency=4)
    point = Point(EngineSection("tiny"), work)
    assert (lengths(work), tokens_each(point), tokens_in_flight(point, 4)) == (words, each, of_four)


@pytest.mark.parametrize(
    "length",
    [
        {"kind": "lognormal", "median": 20.0, "sigma": 1000.0, "high": 40},
        {"kind": "normal", "mean": float("inf"), "deviation": 1.0, "high": 40},
        {"kind": "normal", "mean": 20.0, "deviation": float("nan"), "high": 40},
    ],
)
def test_a_distribution_that_no_float_holds_is_refused(length: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Expected `float` (<=|>)"):
        msgspec.convert(length, Length)


def test_an_empty_table_leaves_an_argument_out(sweep: Any) -> None:
    """TOML has no word for nothing."""
    axis = '"engine.arguments.speculative_config" = [{}, { method = "ngram", num_speculative_tokens = 3 }]\n'
    without, drafting = points(sweep(f"concurrency = 1\n[axes]\n{axis}"))
    assert "speculative_config" not in without.engine.arguments
    assert drafting.engine.arguments["speculative_config"] == {"method": "ngram", "num_speculative_tokens": 3}
    assert "speculative_config none" in without.label
    assert "ngram" in drafting.label


def test_a_variable_of_the_environment_is_an_axis(sweep: Any) -> None:
    axis = '[axes]\n"workload.concurrency" = [1]\n"engine.environment.VLLM_BATCH_INVARIANT" = [{}, 0, 1]'
    found = points(sweep(axis))
    assert [dict(point.engine.spec.environment) for point in found] == [
        {},
        {"VLLM_BATCH_INVARIANT": "0"},
        {"VLLM_BATCH_INVARIANT": "1"},
    ]
    assert [point.label for point in found] == [f"VLLM_BATCH_INVARIANT {value}" for value in ("none", 0, 1)]
    assert len({point.key for point in found}) == len({point.engine.spec for point in found}) == 3


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("PATH", "engine.environment: PATH is not a variable of an engine: their names begin with VLLM_, NCCL_"),
        ("vllm_use_v1", "engine.environment: vllm_use_v1 is not a variable of an engine"),
        ("VLLM_API_KEY", "VLLM_API_KEY would be written to the sweep's files: set it in the shell instead"),
        ('VLLM_X="a\\u0000b"', "a variable cannot hold a null character"),
        ("VLLM_ENABLE_V1_MULTIPROCESSING", "is set by engine_probe, because the engine is recorded in its own process"),
    ],
)
def test_variables_that_are_not_an_engines_are_refused(sweep: Any, variable: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        sweep("", f"engine.environment.{variable}{'' if '=' in variable else '=1'}")


def test_a_value_that_is_no_section_holds_no_other(sweep: Any) -> None:
    with pytest.raises(InputError, match=r"engine\.model\.x: model is no section, so nothing inside it can be set"):
        sweep("", "engine.model.x=1")
