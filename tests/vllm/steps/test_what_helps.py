"""What a report names as waited for is what helps: each named limit is raised on a real engine, alone and together.

Steps are counted, not seconds: with the same requests, fewer steps are more throughput, and the count is exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine_probe.recordings.sweep import Swept, open_sweep
from engine_probe.recordings.sweep_point import SweptPoint
from tests.support.processes.command import engine_probe

pytestmark = pytest.mark.slow

SWEEP = """
question = "What would help?"
[engine]
model = "tiny"
[engine.arguments]
block_size = 32
max_model_len = 512
enable_prefix_caching = false
enforce_eager = true
[workload]
{workload}
[axes]
{axes}
"""
# A prompt of 384 tokens fills the budget of a step, and three such requests take more than the 37 blocks.
PREEMPTING = SWEEP.format(
    workload="input_len = 384\noutput_len = 4\nnum_prompts = 24\nconcurrency = 24",
    axes='"engine.arguments.num_gpu_blocks_override" = [38, 201]\n"engine.arguments.max_num_batched_tokens" = [384]',
)
# Eight requests of four blocks each fill the batch and the 32 blocks at the same time.
BOTH_FULL = SWEEP.format(
    workload="input_len = 97\noutput_len = 30\nnum_prompts = 48\nconcurrency = 48",
    axes='"engine.arguments.num_gpu_blocks_override" = [33, 65]\n"engine.arguments.max_num_seqs" = [8, 16]',
)


def measured(folder: Path, sweep: str) -> Swept:
    folder.mkdir()
    (folder / "mine.toml").write_text(sweep)
    done = engine_probe("sweep", "mine.toml", "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return open_sweep(folder / "out")


def at(swept: Swept, **settings: int) -> SweptPoint:
    (point,) = (each for each in swept.points if settings.items() <= by_last_word(each.curve).items())
    return point


def by_last_word(settings: dict[str, Any]) -> dict[str, Any]:
    return {name.rpartition(".")[2]: value for name, value in settings.items()}


def steps(point: SweptPoint) -> int:
    assert point.analysis is not None
    return point.analysis.summary.iterations


def held_up_by(point: SweptPoint) -> str:
    assert point.analysis is not None
    assert point.analysis.limits.shares["unknown"] == 0
    return point.analysis.limits.main


def test_a_budget_spent_on_recomputed_tokens_is_the_pools(tmp_path: Path) -> None:
    swept = measured(tmp_path / "preempting", PREEMPTING)
    small, large = (at(swept, num_gpu_blocks_override=blocks) for blocks in (38, 201))
    assert held_up_by(small) == "KV blocks"
    assert held_up_by(large) == "token budget"
    assert steps(large) < 0.6 * steps(small)


def test_a_full_batch_over_a_full_pool_helps_only_together(tmp_path: Path) -> None:
    swept = measured(tmp_path / "both", BOTH_FULL)
    first = at(swept, num_gpu_blocks_override=33, max_num_seqs=8)
    assert held_up_by(first) == "KV blocks + max_num_seqs"
    assert held_up_by(at(swept, num_gpu_blocks_override=33, max_num_seqs=16)) == "KV blocks"
    assert held_up_by(at(swept, num_gpu_blocks_override=65, max_num_seqs=8)) == "max_num_seqs"
    assert steps(at(swept, num_gpu_blocks_override=33, max_num_seqs=16)) == steps(first)
    assert steps(at(swept, num_gpu_blocks_override=65, max_num_seqs=8)) == steps(first)
    assert steps(at(swept, num_gpu_blocks_override=65, max_num_seqs=16)) == steps(first) / 2
