"""Two real stages on the CPU: the same tokens as without a probe, and every step on both."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
import pytest

from engine_probe import Run
from engine_probe.analysis.run.token_times import token_times
from engine_probe.report.run_report import run_document
from tests.support.engines.forked_engine import answer_of

pytestmark = pytest.mark.slow  # three processes that import vLLM

ARGUMENTS: dict[str, object] = {
    "pipeline_parallel_size": 2,
    "block_size": 32,
    "num_gpu_blocks_override": 64,
    "enable_prefix_caching": False,
    "max_model_len": 256,
}
COUNT, TOKENS = 6, 20
LINES = """
from engine_probe import Probe
from tests.support.engines.fixed_prompts import generate, tokens_of

without = tokens_of(generate(llm, count={count}, tokens={tokens}))
with Probe(llm, "{folder}/run"):
    answer = {{"same": tokens_of(generate(llm, count={count}, tokens={tokens})) == without}}
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("stages")
    lines = LINES.format(folder=folder, count=COUNT, tokens=TOKENS)
    answer = answer_of(folder, "tiny", ARGUMENTS, lines)
    return Run(folder / "run"), answer


def test_tokens_are_the_same_and_all_are_counted(recorded: tuple[Run, dict[str, Any]]) -> None:
    run, answer = recorded
    assert answer["same"]
    assert (run.status, run.notes) == ("complete", [])
    assert run.iterations["output_tokens"].to_numpy().sum() == COUNT * TOKENS
    assert token_times(run.iterations, run.requests).num_rows == COUNT * TOKENS


def test_both_stages_record_every_step(recorded: tuple[Run, dict[str, Any]]) -> None:
    run, _ = recorded
    steps = {
        rank: set(run.workers.filter(pc.equal(run.workers["rank"], rank))["iteration"].to_pylist()) for rank in (0, 1)
    }
    assert steps[0] == steps[1] >= set(run.iterations["iteration"].to_pylist())


def times(run: Run, rank: int) -> dict[int, tuple[int, int]]:
    """Return begin and end of each step's forward on a stage; a step without tokens has none."""
    rows = run.workers.filter(pc.equal(run.workers["rank"], rank))
    columns = (rows[name].to_pylist() for name in ("iteration", "forward_start_ns", "forward_ns"))
    return {step: (begin, begin + length) for step, begin, length in zip(*columns, strict=True) if begin is not None}


def test_the_later_stage_waits_for_the_one_before(recorded: tuple[Run, dict[str, Any]]) -> None:
    run, _ = recorded
    first, second = times(run, 0), times(run, 1)
    assert len(first.keys() & second.keys()) >= TOKENS
    assert all(second[step][0] >= first[step][1] for step in first.keys() & second.keys())
    sections = run_document(run, run.analysis()).all_sections
    assert any("divided into 2 stages" in sentence.text for section in sections for sentence in section.sentences)
