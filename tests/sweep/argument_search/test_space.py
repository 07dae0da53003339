"""The section [search]: what may vary, and what is refused before an engine starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.argument_search.space import ArgumentSearch, Span, applied, own_setting
from engine_probe.sweep.definition.loader import read_sweep

FILE = """
question = "Which arguments?"
[engine]
model = "tiny"
[engine.arguments]
max_num_seqs = 8
[workload]
input_len = 16
output_len = 16
concurrency = 8
[search]
kind = "engine_arguments"
"""


RANGE = "[search.arguments.max_num_seqs]\nlow = 1\nhigh = 4"
LOADS = '\n[adaptive]\naxis = "workload.concurrency"\nfrom = 1\nto = 8'


def read(folder: Path, more: str) -> Any:
    (folder / "mine.toml").write_text(FILE + more)
    return read_sweep(str(folder / "mine.toml"))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("arguments = {}", "search.arguments is empty: name the engine arguments that may vary"),
        ("[search.arguments.max_num_seq]\nlow = 1\nhigh = 4", "vLLM has no engine argument max_num_seq: did you mean"),
        ("[search.arguments.max_num_seqs]\nlow = 0\nhigh = 4", "max_num_seqs is 0: vLLM takes 1 or more"),
        ("[search.arguments.max_num_seqs]\nlow = 4\nhigh = 4", "high = 4 is not above low = 4"),
        ("[search.arguments.max_num_seqs]\nlow = -1\nhigh = 4\nlog = true", "log needs a range above zero"),
        ("[search.arguments.max_num_seqs]\nlow = 4", "search.arguments.max_num_seqs: high is missing"),
        (
            "[search.arguments.max_num_seqs]\nlow = 4\nhigh = 8\nchoices = [1, 2]",
            "give either low and high, or choices",
        ),
        ("[search.arguments.max_num_seqs]\nlog = true", "give either low and high, or choices"),
        ("[search.arguments.max_num_seqs]\nlow = 1\nhigh = 9\nstep = 2\nlog = true", "log and step exclude each other"),
        ("[search.arguments.max_num_seqs]\nlow = 1\nhigh = 9\nstep = 0", "step is 0: give a number above zero"),
        ("[search.arguments.max_num_seqs]\nlow = 1\nhigh = 9\nstep = 9", "step = 9 leads from 1 beyond high = 9"),
        ("[search.arguments.max_num_seqs]\nchoices = [4]", "at least two different values, not [4]"),
        ("[search.arguments.max_num_seqs]\nchoices = [4, 4]", "at least two different values"),
        ("[search.arguments.max_num_seqs]\nchoices = [4, true]", "max_num_seqs is true: vLLM takes a whole number"),
        ("[search.arguments.max_num_seqs]\nlow = 1\nhi = 4", 'search.arguments["max_num_seqs"].hi is not known'),
        ("[search.arguments.gpu_memory_utilization]\nlow = 0.5\nhigh = 1.5", "gpu_memory_utilization is 1.5, a share"),
        (
            "[search.arguments.seed]\nlow = 1\nhigh = 5",
            "search.arguments.seed: a search varies what throughput depends",
        ),
        ('objective = "goodput_requests_per_s"\n[search.arguments.max_num_seqs]\nlow = 1\nhigh = 4', "add search.slo"),
        ("trials = 1\n[search.arguments.max_num_seqs]\nlow = 1\nhigh = 4", "search.trials is 1, expected"),
        (
            "[search.slo]\n[search.arguments.max_num_seqs]\nlow = 1\nhigh = 4",
            "search.slo is empty: say what is allowed",
        ),
        (
            "[search.slo]\nttft_ms = 5\npercentile = 99\n[search.arguments.max_num_seqs]\nlow = 1\nhigh = 4",
            "search.slo: 24 requests have no p99",
        ),
        (
            '[search.arguments.max_num_seqs]\nlow = 1\nhigh = 4\n[axes]\n"workload.concurrency" = [1, 2]',
            "workload.concurrency is an axis: leave axes out, or the search",
        ),
        (
            "[search.slo]\nttft_ms = 5\n" + RANGE + LOADS,
            "search.slo: adaptive searches the load of each setting by limits of its own",
        ),
        (
            'objective = "goodput_requests_per_s"\n' + RANGE + LOADS,
            'which counts requests within limits: add adaptive.slo and adaptive.goal = "slo"',
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_sentence(tmp_path: Path, more: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)) as raised:
        read(tmp_path, more)
    assert str(raised.value).startswith(str(tmp_path / "mine.toml"))
    assert len(str(raised.value).splitlines()) == 1


def test_a_search_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FILE.replace("engine_arguments", "prompts"))
    with pytest.raises(InputError, match=r'search\.kind is "prompts"'):
        read_sweep(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("repeats = 3", "repeats is 3"),
        ("probe = false", "probe = false: a search"),
        ("check_integrity = true", "check_integrity is for sweeps of given points"),
        ("replicas = 2", "the arguments of one engine"),
    ],
)
def test_what_a_search_cannot_be_combined_with(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "mine.toml").write_text(f"{line}\n{FILE}{RANGE}")
    with pytest.raises(InputError, match=sentence):
        read_sweep(str(tmp_path / "mine.toml"))


def test_a_setting_replaces_the_engines_own_arguments_and_an_empty_table_leaves_one_out() -> None:
    own = {"max_num_seqs": 8, "block_size": 32, "hf_overrides": {}}
    assert applied(own, {"max_num_seqs": 4, "block_size": {}}) == {"max_num_seqs": 4, "hf_overrides": {}}


def test_the_files_own_arguments_are_a_setting_only_inside_the_space() -> None:
    search = ArgumentSearch({"max_num_seqs": Span(1, 16), "block_size": Span(choices=[16, {}])})
    assert own_setting(search, {"max_num_seqs": 8}) == {"max_num_seqs": 8, "block_size": {}}
    assert own_setting(search, {"max_num_seqs": 17}) is None
    assert own_setting(search, {"max_num_seqs": 8, "block_size": 32}) is None


@pytest.mark.parametrize(
    ("span", "count"),
    [
        (Span(1, 9), 9),
        (Span(1, 9, step=4), 3),
        (Span(0.5, 0.9), None),
        (Span(0.5, 0.9, step=0.1), 5),
        (Span(choices=["a", "b"]), 2),
    ],
)
def test_the_number_of_values(span: Span, count: int | None) -> None:
    assert span.count == count
    if count is not None:
        assert len(span.listed) == count
        assert all(map(span.holds, span.listed))
