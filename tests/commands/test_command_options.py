"""Options in any order, vLLM's among them; wrong usage of any command is one sentence and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from engine_probe.cli import COMMANDS, cli
from engine_probe.commands.options.engine_options import EngineCommand, GroupedCommand, under
from engine_probe.engine import arguments
from engine_probe.errors import InputError

NAMES = frozenset(
    {"seed", "max_num_seqs", "gpu_memory_utilization", "enforce_eager", "served_model_name", "max_model_len"}
)


@pytest.fixture(autouse=True)
def known_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vLLM of a few arguments, whichever is installed."""
    monkeypatch.setattr(arguments, "argument_names", lambda: NAMES)
    monkeypatch.setattr(arguments, "argument_type", lambda name: None)
    monkeypatch.setattr(arguments, "short_forms", dict)
    monkeypatch.setattr(arguments, "list_arguments", lambda: {"served_model_name": True})


def parsed(line: str, kind: type[GroupedCommand] = EngineCommand) -> dict[str, Any]:
    work, out = under("Workload"), under("Output")
    options = [
        work("--num-prompts", type=click.IntRange(1)),
        work("--seed", type=int),
        work("--set", "settings", multiple=True),
        out("--out"),
        out("--verbose", "-v", is_flag=True),
    ]

    def command(**_: Any) -> None: ...

    for option in options:
        command = option(command)
    made = click.command("measure", cls=kind)(command)
    return made.make_context("measure", line.split()).params


def test_completion_offers_vllms_options_beside_its_own() -> None:
    command = cli.get_command(click.Context(cli), "profile")
    assert command is not None
    context = command.make_context("profile", ["--max-num-seqs", "3"], resilient_parsing=True)
    assert {item.value for item in command.shell_complete(context, "--max")} == {
        "--max-concurrency",
        "--max-model-len",
        "--max-num-seqs",
    }


ENGINE = {"gpu_memory_utilization": 0.3, "enforce_eager": True}


@pytest.mark.parametrize(
    "line",
    [
        "--gpu-memory-utilization 0.3 --enforce-eager --out X --num-prompts 3",
        "--out X --enforce-eager --num-prompts 3 --gpu-memory-utilization=0.3",
        "--num_prompts=3 --gpu_memory_utilization 0.3 --out=X --enforce_eager",
        "--out X --num-prompts 3 -- --enforce-eager --gpu-memory-utilization 0.3",
    ],
)
def test_any_order_is_the_same(line: str) -> None:
    found = parsed(line)
    assert (found["engine_arguments"], found["out"], found["num_prompts"]) == (ENGINE, "X", 3)


def test_behind_two_dashes_a_name_that_both_have_is_vllms() -> None:
    found = parsed("--seed 1 -- --seed 2")
    assert (found["seed"], found["engine_arguments"]) == (1, {"seed": 2})


def test_numbers_below_zero_are_values() -> None:
    found = parsed("--seed -1 --max-model-len -1 -v")
    assert (found["seed"], found["engine_arguments"], found["verbose"]) == (-1, {"max_model_len": -1}, True)


def test_what_may_be_repeated_may_be() -> None:
    assert parsed("--set a=1 --set b=2")["settings"] == ("a=1", "b=2")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--num-promts 3", "measure: there is no option --num-promts, here or in vLLM: did you mean --num-prompts?"),
        ("--gpu-memory-utilisation 0.3", "did you mean --gpu-memory-utilization?"),
        ("--out X --out Y", "measure: --out is given twice"),
        ("--enforce-eager --no-enforce-eager", "enforce_eager was given twice"),
        ("--out", "measure: --out needs a value, but nothing follows it"),
        ("--out --seed 3", "measure: --out needs a value, but the option --seed follows"),
        ("--max-num-seqs 3 4", "measure: '4' belongs to no option"),
        ("word", "measure: 'word' belongs to no option"),
    ],
)
def test_what_belongs_nowhere_is_refused(line: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        parsed(line)
    assert sentence in str(refused.value)


def test_without_engine_arguments_an_unknown_option_is_clicks_to_refuse() -> None:
    with pytest.raises(click.NoSuchOption):
        parsed("--max-num-seqs 3", GroupedCommand)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("export --out", "engine_probe: export: --out needs a value, but nothing follows it"),
        ("trace --out", "engine_probe: trace: --out needs a value, but nothing follows it"),
        ("report", "engine_probe: report: FOLDER is missing: engine_probe report --help says what it is"),
        (
            "overhead --pairs 1",
            "engine_probe: overhead: --pairs is 1: give a whole number of at least 100 and at most 3800",
        ),
        (
            "validate --tolerance x",
            "engine_probe: validate: --tolerance is 'x': give a finite number above 0 and at most 100",
        ),
        ("compare --format x .", "engine_probe: compare: --format: 'x' is not one of 'table', 'markdown', "),
        ("sweep --lst", "engine_probe: sweep: there is no option --lst: did you mean --list?"),
        ("models --zzzz", "engine_probe: models: there is no option --zzzz: engine_probe models --help lists them"),
        ("profile --num-prompts 0", "engine_probe: profile: --num-prompts is 0: give a whole number of at least 1"),
    ],
)
def test_wrong_usage_of_any_command_is_one_sentence(line: str, sentence: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine_probe", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_eighty_columns(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    page = command.get_help(click.Context(command, info_name=f"engine_probe {name}", terminal_width=80))
    assert max(map(len, page.splitlines())) <= 80


def test_the_help_of_profile_is_in_groups() -> None:
    command = cli.get_command(click.Context(cli), "profile")
    assert command is not None
    page = command.get_help(click.Context(command, info_name="engine_probe profile", terminal_width=80))
    headings = [line for line in page.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Model and engine:", "Workload:", "Arrivals:", "Output:", "Help:"]
