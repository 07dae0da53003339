"""The notebooks run, from the first cell to the last, on a recording of a real engine whose KV pool was full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine_probe import Probe

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def storm(tiny_llm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vllm import SamplingParams

    folder = tmp_path_factory.mktemp("notebook") / "run"
    prompts = [{"prompt_token_ids": [10 + (i * 7 + j) % 200 for j in range(40 + i)]} for i in range(40)]
    with Probe(tiny_llm, folder) as probe:
        tiny_llm.generate(prompts, SamplingParams(max_tokens=60, ignore_eos=True, temperature=0), use_tqdm=False)
    assert probe.run.preemptions.num_rows
    return folder


def test_one_run(storm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("ENGINE_PROBE_RUN", str(storm))
    notebook = nbformat.read(NOTEBOOKS / "one_run.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert any("complete" in output.get("text", "") for output in outputs)
