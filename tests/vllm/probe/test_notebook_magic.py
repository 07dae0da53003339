"""`%%probe` on a real engine: the run is the cell's result; a cell that fails leaves its recording and error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import engine_probe
from tests.support.processes.notebook_shell import notebook_shell

pytest.importorskip("IPython")

CELL = """%%probe {line}
from vllm import SamplingParams
prompts = [{{"prompt_token_ids": [10 + i, 11, 12]}} for i in range(3)]
outputs = llm.generate(prompts, SamplingParams(max_tokens=4, ignore_eos=True), use_tqdm=False)
{end}
"""


def test_a_cell_is_recorded_and_shows_its_run(tiny_llm: Any, tmp_path: Path) -> None:
    with notebook_shell(llm=tiny_llm) as shell:
        result = shell.run_cell(CELL.format(line=f"--out {tmp_path / 'run'}", end=""))
        result.raise_error()
    run = result.result
    assert (run.folder, run.status, run.requests.num_rows) == (tmp_path / "run", "complete", 3)
    assert len(shell.user_ns["outputs"]) == 3
    assert "<svg" in run._repr_html_()


def test_a_cell_that_fails_raises_its_own_error_and_keeps_what_was_recorded(
    tiny_llm: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with notebook_shell(llm=tiny_llm) as shell:
        result = shell.run_cell(CELL.format(line=f"llm --out {tmp_path / 'run'}", end="1 / 0"))
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    printed = "".join(capsys.readouterr())
    assert printed.count("1 / 0") == 1  # the traceback shows the line of the cell, once
    assert "notebook_magic.py" not in printed  # and nothing of the magic
    assert f"what was recorded until then is in {tmp_path / 'run'}" in printed
    run = engine_probe.load(tmp_path / "run")
    assert run.requests.num_rows == 3
    assert run.notes == ["the `with` block was left by an exception (ZeroDivisionError: division by zero)"]
    engine_probe.Probe(tiny_llm, tmp_path / "next").__enter__().__exit__(None, None)  # the engine is free again
