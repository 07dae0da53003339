"""What `sweep` says before it measures: that its report will lack something."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.commands.sweep.sweep_argument import caution
from engine_probe.sweep.definition.loader import read_sweep

QUESTIONS = """
prompts = { kind = "questions", path = "english" }
num_prompts = 4
output_len = 16
concurrency = 2
sampling = { ignore_eos = false }
"""
RANDOM = "input_len = 8\noutput_len = 8\nconcurrency = 2\n"


def cautioned(folder: Path, workload: str, more: str = "") -> bool:
    path = folder / "asked.toml"
    path.write_text(f'question = "?"\n[engine]\nmodel = "smollm2"\n{more}\n[workload]\n{workload}')
    return caution(read_sweep(str(path))) is not None


@pytest.mark.parametrize(
    ("workload", "more", "expected"),
    [
        (QUESTIONS, "", True),
        (QUESTIONS, '[answers]\nkeep = "tokens"', True),
        (QUESTIONS, '[answers]\nkeep = "text"', False),
        (RANDOM, "", False),
    ],
)
def test_questions_without_texts_are_said(tmp_path: Path, workload: str, more: str, expected: bool) -> None:
    assert cautioned(tmp_path, workload, more) is expected
