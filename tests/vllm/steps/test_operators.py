"""A window of operators on the real CPU engine: the same tokens, times that add up, and steps that do not count."""

from typing import Any

import pyarrow.compute as pc
import pytest

from engine_probe import Probe, Run
from engine_probe.errors import InputError
from tests.support.engines.fixed_prompts import generate, tokens_of

STEPS, FIRST = 6, 10


@pytest.fixture(scope="module")
def recorded(tiny_llm: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, bool]:
    """A recording with a window, and whether the tokens are those without a probe."""
    without = tokens_of(generate(tiny_llm, count=8, tokens=30))
    with Probe(tiny_llm, tmp_path_factory.mktemp("operators") / "run", operators=f"{STEPS}@{FIRST}") as probe:
        watched = tokens_of(generate(tiny_llm, count=8, tokens=30))
    return probe.run, watched == without


def test_tokens_are_the_same_and_nothing_is_left(recorded: tuple[Run, bool], tiny_llm: Any) -> None:
    import torch

    assert recorded[1]
    assert not torch._C._autograd._profiler_enabled()
    executor = tiny_llm.llm_engine.engine_core.engine_core.model_executor
    hooked = executor.collective_rpc(
        lambda worker: [
            name
            for name, module in worker.model_runner.model.named_modules()
            if module._forward_hooks or module._forward_pre_hooks
        ]
    )
    assert hooked == [[]]


def test_the_window_is_the_one_that_was_asked_for(recorded: tuple[Run, bool]) -> None:
    run = recorded[0]
    (rank,) = run.facts["workers"]["ranks"]
    assert run.status == "complete"
    assert run.facts["operators"] == {"steps": STEPS, "first": FIRST}
    assert (rank["operators"]["steps"], rank["operators"]["failure"]) == (STEPS, None)
    assert set(run.operators["iteration"].to_pylist()) == set(range(FIRST, FIRST + STEPS))


def test_every_phase_adds_up_and_the_forward_is_attention_and_matrix_products(recorded: tuple[Run, bool]) -> None:
    run = recorded[0]
    for row in run.workers.slice(FIRST, STEPS).to_pylist():
        forward = run.operators.filter((pc.field("iteration") == row["iteration"]) & (pc.field("phase") == "forward"))
        assert pc.sum(forward["duration_ns"]).as_py() == row["forward_ns"]
        kinds = set(forward["kind"].to_pylist())
        assert {"attention", "matrix product", "gap"} <= kinds
    layers = set(run.operators["layer"].to_pylist())
    assert {"attention", "MLP", "normalisation", "embedding"} <= layers


def test_the_kinds_know_nearly_all_of_a_real_forward(recorded: tuple[Run, bool]) -> None:
    run = recorded[0]
    forward = run.operators.filter(pc.equal(run.operators["phase"], "forward"))
    other = pc.sum(forward.filter(pc.equal(forward["kind"], "other"))["duration_ns"]).as_py() or 0
    names = forward.filter(pc.equal(forward["kind"], "other"))["name"].unique().to_pylist()
    assert other < 0.05 * pc.sum(forward["duration_ns"]).as_py(), names


def test_slices_lie_within_the_steps_of_the_window(recorded: tuple[Run, bool]) -> None:
    run = recorded[0]
    steps, slices = run.workers.slice(FIRST, STEPS).to_pylist(), run.operator_slices
    assert slices.num_rows > 100
    assert pc.min(slices["start_ns"]).as_py() >= steps[0]["start_ns"]
    ends = pc.add(slices["start_ns"], slices["duration_ns"])
    assert pc.max(ends).as_py() <= steps[-1]["sample_start_ns"] + steps[-1]["sample_ns"]


def test_a_running_profiler_is_refused_before_anything_is_attached(tiny_llm: Any, tmp_path: Any) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]), pytest.raises(InputError, match="one at a time"):
        Probe(tiny_llm, tmp_path / "run", operators="2@0").__enter__()
    assert not (tmp_path / "run").exists()
    with Probe(tiny_llm, tmp_path / "run"):  # the engine is free
        generate(tiny_llm, count=1, tokens=2)
