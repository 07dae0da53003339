"""`sweep --check-integrity`: the points that it adds, and a sweep that it refuses before an engine starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine_probe.commands.sweep.cli import command
from engine_probe.errors import InputError

SWEEP = """
question = "Do answers stay the same?"
[engine]
model = "tiny"
[workload]
input_len = 16
output_len = 8
num_prompts = 8
[axes]
"workload.concurrency" = [1, 8]
"""


def dry_run(folder: Path, *words: str) -> Result:
    path = folder / "mine.toml"
    path.write_text(SWEEP)
    arguments = [str(path), "--check-integrity", "--dry-run", *words]
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_the_lowest_load_is_repeated(tmp_path: Path) -> None:
    ended = dry_run(tmp_path)
    assert ended.exit_code == 0
    assert "concurrency 1, 2 of 2" in ended.output
    assert "3 points on 1 engine" in ended.output


def test_sampling_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="temperature is 1, and check_integrity compares greedy answers"):
        dry_run(tmp_path, "--set", "workload.sampling.temperature=1")
