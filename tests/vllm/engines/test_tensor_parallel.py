"""Two real ranks on the CPU: the steps of each as they are, and what shows when one is slowed.

The other then waits inside collectives, also in a window of operators.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from engine_probe import Run
from engine_probe.report.run_report import run_document
from tests.support.engines.forked_engine import answer_of
from tests.support.engines.witness import broken_laws

pytestmark = pytest.mark.lengthy

ARGUMENTS: dict[str, object] = {
    "tensor_parallel_size": 2,
    "block_size": 32,
    "num_gpu_blocks_override": 64,
    "enable_prefix_caching": False,
    "max_model_len": 512,
    "enforce_eager": True,
}
STEPS, FIRST, SLEEP_MS = 6, 8, 40
LINES = """
from engine_probe import Probe
from tests.support.engines.fixed_prompts import generate, tokens_of

def slow_down(worker):
    import time

    runner = getattr(worker, "worker", worker).model_runner
    layers = [module for module in runner.get_model().modules() if type(module).__name__.endswith("MLP")]
    if worker.rank == 1:
        for layer in layers:
            layer.register_forward_pre_hook(lambda *_: time.sleep({sleep_ms} / 1000))
    return len(layers)

def left(worker):
    from vllm.distributed.parallel_state import get_tp_group

    return "_all_reduce_out_place" in vars(get_tp_group())

executor = llm.llm_engine.engine_core.engine_core.model_executor
without = tokens_of(generate(llm, count=4, tokens=20))
with Probe(llm, "{folder}/alike"):
    answer = {{"tokens": sum(map(len, tokens_of(generate(llm))))}}
answer["layers"] = executor.collective_rpc(slow_down)
with Probe(llm, "{folder}/slowed"):
    answer["same"] = tokens_of(generate(llm, count=4, tokens=20)) == without
with Probe(llm, "{folder}/window", operators="{steps}@{first}"):
    answer["same in the window"] = tokens_of(generate(llm, count=4, tokens=20)) == without
answer["left"] = executor.collective_rpc(left)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Three recordings of one engine: of ranks that are alike, with one slowed, and that with a window of operators."""
    folder = tmp_path_factory.mktemp("ranks")
    lines = LINES.format(folder=folder, steps=STEPS, first=FIRST, sleep_ms=SLEEP_MS)
    return folder, answer_of(folder, "tiny", ARGUMENTS, lines)


def test_tokens_are_the_same_and_nothing_is_left(recorded: tuple[Path, dict[str, Any]]) -> None:
    answer = recorded[1]
    assert (answer["same"], answer["same in the window"]) == (True, True)
    assert answer["left"] == [False, False]


def test_two_ranks_show_their_own_steps(recorded: tuple[Path, dict[str, Any]]) -> None:
    folder, answer = recorded
    run = Run(folder / "alike")
    assert run.status == "complete", run.notes
    assert broken_laws(run) == []
    assert answer["tokens"] == sum(run.iterations["output_tokens"].to_pylist()) == 24 * 60
    workers = run.workers.to_pylist()
    scheduled = run.iterations["scheduled_tokens"].to_pylist()
    for rank in (0, 1):
        mine = [row for row in workers if row["rank"] == rank]
        assert [row["scheduled_tokens"] for row in mine] == scheduled
        for row, step in zip(mine, run.iterations.to_pylist(), strict=True):
            # Its work lies within the step as the core saw it: one clock in all processes.
            assert step["start_ns"] < row["start_ns"]
            end = step["start_ns"] + step["schedule_ns"] + step["execute_ns"]
            assert rank or row["start_ns"] + row["execute_ns"] < end
    assert len({json.dumps(rank["pid"]) for rank in run.facts["workers"]["ranks"]}) == 2
    shards = run.facts["loaded"]
    assert [shard["rank"] for shard in shards] == [row["rank"] for row in run.facts["memory"]] == [0, 1]
    config = json.loads((Path(run.facts["model"]["name"]) / "config.json").read_text())
    for name in ("heads", "kv_heads"):  # each rank has half of them
        whole = config["num_attention_heads" if name == "heads" else "num_key_value_heads"]
        assert [shard["attention"][0][name] for shard in shards] == [whole // 2] * 2
    assert {row["kv_pool_bytes"] for row in run.facts["memory"]} == {run.facts["kv"]["bytes"]}


def test_the_rank_that_was_not_slowed_waits_inside_collectives(recorded: tuple[Path, dict[str, Any]]) -> None:
    folder, answer = recorded
    run = Run(folder / "slowed")
    found = run.analysis().collectives
    assert found is not None
    assert (run.status, found.place, found.steps) == ("complete", "host", run.iterations.num_rows)
    fast, slow = found.ranks
    assert (found.straggler.rank, slow.late, fast.late) == (1, True, False)
    planted = answer["layers"][0] * SLEEP_MS * 1e6
    assert slow.work_ns > planted  # it sleeps at least so long
    assert fast.waiting_ns > max(0.5 * planted, slow.waiting_ns)
    section = next(part for part in run_document(run, run.analysis()).sections if "collectives" in part.title)
    assert "Rank 1 was the straggler" in section.sentences[1].text


def test_a_window_of_operators_is_recorded_on_both_ranks(recorded: tuple[Path, dict[str, Any]]) -> None:
    run = Run(recorded[0] / "window")
    told = [rank["operators"] for rank in run.facts["workers"]["ranks"]]
    assert (run.status, [(rank["steps"], rank["failure"]) for rank in told]) == ("complete", [(STEPS, None)] * 2)
    assert set(run.operators["iteration"].to_pylist()) == set(range(FIRST, FIRST + STEPS))
    assert set(run.collectives["iteration"].to_pylist()).isdisjoint(range(FIRST, FIRST + STEPS))
    forward = run.operators.filter(pc.equal(run.operators["phase"], "forward"))
    inside = forward.filter(pc.equal(forward["kind"], "collective"))
    assert "vllm::all_reduce_out_place" in inside["name"].to_pylist()
    fast, slow = (pc.sum(inside.filter(pc.equal(inside["rank"], rank))["duration_ns"]).as_py() for rank in (0, 1))
    assert fast > slow  # it waits there, and not in a gap
