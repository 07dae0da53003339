"""The notebooks run, from the first cell to the last, on recordings of a real engine whose KV pool was full.

`tests/repository/test_notebooks.py` runs those that a simulated engine can record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine_probe import Probe
from tests.support.engines.fixed_prompts import generate
from tests.support.engines.forked_command import engine_probe_here
from tests.support.processes.notebooks import executed, pictures, said

SWEEP = """
question = "Where is the knee of a tiny one?"
[engine]
model = "tiny"
[engine.arguments]
block_size = 32
num_gpu_blocks_override = 49
max_model_len = 256
enable_prefix_caching = false
enforce_eager = true
[workload]
input_len = 40
output_len = 60
hold = false
[axes]
"workload.concurrency" = [1, 4, 12, 16, 24]
"""


@pytest.fixture(scope="module")
def storm(tiny_llm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vllm import SamplingParams

    folder = tmp_path_factory.mktemp("notebook") / "run"
    prompts = [{"prompt_token_ids": [10 + (i * 7 + j) % 200 for j in range(40 + i)]} for i in range(40)]
    with Probe(tiny_llm, folder) as probe:
        tiny_llm.generate(prompts, SamplingParams(max_tokens=60, ignore_eos=True, temperature=0), use_tqdm=False)
    assert probe.run.preemptions.num_rows
    return folder


@pytest.fixture(scope="module")
def knee(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("knee")
    (place / "knee.toml").write_text(SWEEP)
    done = engine_probe_here("sweep", "knee.toml", "--out", "out", cwd=place)
    assert done.returncode == 0, done.stderr
    return place / "out"


def test_anatomy_of_one_iteration(storm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_RUN", str(storm))
    outputs = executed("anatomy_of_one_iteration")
    assert pictures(outputs) == 4
    assert "with recomputed tokens" in said(outputs)
    assert "complete" in said(outputs)


@pytest.mark.slow  # a sweep of an engine of its own
def test_where_the_knee_comes_from(knee: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 tokens of prompt take 2 blocks, 100 tokens 4, and the pool has 48."""
    monkeypatch.setenv("ENGINE_PROBE_SWEEP", str(knee))
    outputs = executed("where_the_knee_comes_from")
    assert pictures(outputs) == 6
    assert "the shortest request takes 2 blocks at admission, the longest 4 at its end, of 48" in said(outputs)
    assert "so 24 can be admitted, and 12 can surely end together" in said(outputs)
    assert "Where is the knee of a tiny one?" in said(outputs)


def test_inside_the_step(tiny_llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Probe(tiny_llm, tmp_path / "run", operators="4@20"):
        generate(tiny_llm, count=8, tokens=60)
    monkeypatch.setenv("ENGINE_PROBE_INSIDE", str(tmp_path / "run"))
    outputs = executed("inside_the_step")
    assert pictures(outputs) == 4
    assert "matrix product" in said(outputs)
