"""What `sweep --init` writes: it runs as it is, shows every key, and each part of it may be set."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from engine_probe.commands.sweep.cli import command
from engine_probe.errors import InputError
from engine_probe.sweep.definition.file_schema import LENGTH, json_schema, tables
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.starter_file import starter_file
from engine_probe.sweep.definition.sweep_file import points

UNSET = re.compile(r'^#(?=[\w"\[])', re.MULTILINE)
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
PARTS = [part for part in starter_file().split("\n\n") if UNSET.search(part)]


def init(*words: str) -> Exception | None:
    done = CliRunner().invoke(command, ["--init", *words])
    return done.exception if isinstance(done.exception, Exception) else None


def test_it_runs_as_it_is_and_its_points_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    assert init(str(path)) is None
    assert [point.workload.concurrency for point in points(read_sweep(str(path)))] == [1, 4, 16]
    shown = CliRunner().invoke(command, [str(path), "--dry-run"])
    assert shown.exit_code == 0
    assert "concurrency 16" in shown.stdout


def test_the_model_is_the_one_asked_for(tmp_path: Path) -> None:
    assert init(str(tmp_path / "my.toml"), "--model", "smollm2") is None
    assert read_sweep(str(tmp_path / "my.toml")).engine.model == "smollm2"


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("mine")
    with pytest.raises(InputError, match="is never overwritten"):
        raise init(str(path)) or AssertionError
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["smoke"], "leave smoke out"), (["--model", "tinny"], r"unknown model \'tinny\': did you mean tiny\?")],
)
def test_what_cannot_be_meant_writes_nothing(words: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        raise init(str(tmp_path / "my.toml"), *words) or AssertionError
    assert not list(tmp_path.iterdir())


def test_every_key_is_in_it() -> None:
    text = starter_file()
    for table in tables():
        assert table.kind is None or table.place == LENGTH or f'kind = "{table.kind}"' in text
        for key in table.keys:
            assert table.place == LENGTH or re.search(rf"\b{key.name}\b", text), key.name


@pytest.mark.parametrize("part", PARTS, ids=lambda part: UNSET.split(part)[1].splitlines()[0])
def test_each_part_of_it_may_be_set(part: str) -> None:
    """Each line alone where several of one key are shown, else the whole part."""
    base = "question = 'x'\n[engine]\nmodel = 'tiny'\n[workload]\n"
    lines = [line[1:] for line in part.splitlines() if UNSET.match(line)]
    of_tables = "[search]" in lines
    names = [line.partition(" = ")[0] for line in lines]
    alternatives = [[line] for line in lines] if len(set(names)) < len(names) and not of_tables else [lines]
    for chosen in alternatives:
        text = "\n".join(chosen)
        if part.startswith("# The question that"):
            document = tomllib.loads(f"{text}\n{base}")
        elif "[engine.arguments]" in part:
            document = tomllib.loads(f"{base}[engine.arguments]\n{text}")
        elif "[axes]" in part:
            document = tomllib.loads(f"{base}[axes]\n{text}")
        elif "[search.slo]" in part:
            arguments = "arguments = {max_num_seqs = {low = 1, high = 2}}"
            document = tomllib.loads(f"{base}[search]\nkind = 'engine_arguments'\n{arguments}\n{text}")
        elif "[adaptive.slo]" in part:
            document = tomllib.loads(f"{base}[adaptive]\naxis = 'workload.concurrency'\nfrom = 1\nto = 2\n{text}")
        else:
            document = tomllib.loads(base + text)
        assert [error.message for error in VALIDATOR.iter_errors(document)] == []
