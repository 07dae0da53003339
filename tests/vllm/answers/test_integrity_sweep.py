"""A whole sweep with `--check-integrity` on a real engine: what it keeps, and what its report says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.engines.forked_command import engine_probe_here

SWEEP = """
question = "Do answers stay the same?"
check_integrity = true
[engine]
model = "tiny"
[engine.arguments]
block_size = 32
num_gpu_blocks_override = 17
max_model_len = 256
enforce_eager = true
[engine.environment]
VLLM_BATCH_INVARIANT = 0
[workload]
input_len = 48
output_len = 40
num_prompts = 16
[axes]
"workload.concurrency" = [1, 8]
"""


def test_every_prompt_is_compared_with_the_lowest_load(tmp_path: Path) -> None:
    """The pool holds 5 of 8 requests: some are preempted and computed again."""
    (tmp_path / "asked.toml").write_text(SWEEP)
    done = engine_probe_here("sweep", "asked.toml", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    report = engine_probe_here("report", "out", "--json", "figures.json", cwd=tmp_path)
    assert report.returncode == 0, report.stderr[-3000:]
    figures = json.loads((tmp_path / "figures.json").read_text())
    for run in (tmp_path / "out" / "points").glob("*/run.json"):
        assert json.loads(run.read_text())["engine"]["environment"]["VLLM_BATCH_INVARIANT"] == "0"
    (curve,) = figures["integrity"]
    by_load = {level["load"]: level for level in curve["levels"]}
    assert {load: level["compared"] for load, level in by_load.items()} == {1.0: 16, 8.0: 16}
    assert by_load[1.0]["kinds"]["identical"] == 16  # the same load again, one request at a time
    assert by_load[8.0]["preempted"] > 0
    assert by_load[8.0]["kinds"]["diverged"] == by_load[8.0]["kinds"]["cut short"] == by_load[8.0]["disturbed"] == 0
