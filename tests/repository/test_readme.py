"""Every command the README tells somebody to type exists, with those words; its Python is the public API."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

import engine_probe
from engine_probe.cli import COMMANDS, cli
from engine_probe.errors import InputError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TARGETS = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
PREFIXES = ("make ", "python -m engine_probe ", "engine_probe ", "engine-probe ")

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LINES = [line for _, block in BLOCKS for line in block.splitlines()]
INLINE = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL))
TOLD = [line.partition(" #")[0].strip() for line in [*LINES, *INLINE] if line.startswith(PREFIXES)]


def test_what_it_calls_the_command_is_installed() -> None:
    """Not the package's name, which a shell does not know."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {line.split()[0] for line in TOLD} - {"make", "python"} <= set(scripts)


def words_for_engine_probe(line: str) -> list[str]:
    return shlex.split(re.sub(r"^(python -m )?engine[_-]probe ", "", line))


def test_it_names_the_command_of_a_checkout() -> None:
    assert "make sweep" in TOLD


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 100


@pytest.mark.parametrize("line", TOLD)
def test_what_it_tells_to_type_exists(line: str) -> None:
    if line.startswith("make "):
        target = next(word for word in shlex.split(line)[1:] if "=" not in word)
        assert target in TARGETS
        return
    name, *words = words_for_engine_probe(line)
    if name in ("--help", "COMMAND"):
        return
    assert name in COMMANDS
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    try:
        command.make_context(name, words)  # parses, and refuses what it does not know
    except InputError as error:
        if not str(error).endswith("give the folder that a recording or a sweep was written to"):
            raise  # a folder is what only its reader has


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_its_python_is_the_public_api(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module == "engine_probe":
            assert {alias.name for alias in node.names} <= set(engine_probe.__all__)


def test_the_files_it_names_exist() -> None:
    for name in re.findall(r"`((?:docs|notebooks|sweeps|tests)/[\w./-]*)`", README):
        assert (ROOT / name).exists(), name
