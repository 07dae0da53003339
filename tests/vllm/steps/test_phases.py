"""The phases of real steps, compared with vLLM's own scopes as an independent witness."""

from __future__ import annotations

from collections import defaultdict
from time import monotonic_ns
from typing import Any, ClassVar

import numpy as np
import pytest

from engine_probe import Probe, Run
from engine_probe.report.run_report import run_document
from tests.support.engines.fixed_prompts import generate, tokens_of

SEAMS = ("_model_forward", "_bookkeeping_sync", "_determine_batch_execution_and_padding")


class Scope:
    """Stands in for the profiler's scopes, of which vLLM makes one around every phase."""

    spans: ClassVar[defaultdict[str, list[tuple[int, int]]]] = defaultdict(list)

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.began = monotonic_ns()

    def __exit__(self, *_: object) -> None:
        self.spans[self.name].append((self.began, monotonic_ns()))


@pytest.fixture(scope="module")
def recorded(tiny_llm: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any], bool]:
    """A recording, the spans of vLLM's scopes in the same steps, and whether the tokens are those without a probe."""
    from vllm.v1 import utils

    without = tokens_of(generate(tiny_llm, count=8, tokens=30))
    before, utils._PROFILER_FUNC = utils._PROFILER_FUNC, Scope
    try:
        with Probe(tiny_llm, tmp_path_factory.mktemp("phases") / "run") as probe:
            watched = tokens_of(generate(tiny_llm, count=8, tokens=30))
    finally:
        utils._PROFILER_FUNC = before
    spans = {name.removeprefix("gpu_model_runner: "): np.array(times) for name, times in Scope.spans.items()}
    return probe.run, spans, watched == without


def test_tokens_are_the_same_and_nothing_is_left(recorded: tuple[Run, dict[str, Any], bool], tiny_llm: Any) -> None:
    assert recorded[2]
    executor = tiny_llm.llm_engine.engine_core.engine_core.model_executor
    (left,) = executor.collective_rpc(lambda worker: [name for name in SEAMS if name in vars(worker.model_runner)])
    assert left == []


def test_every_step_has_its_phases_in_their_order(recorded: tuple[Run, dict[str, Any], bool]) -> None:
    run = recorded[0]
    assert (run.status, run.facts["workers"]["ranks"][0]["phases_missing"]) == ("complete", None)
    for row in run.workers.to_pylist():
        assert row["start_ns"] < row["forward_start_ns"]
        assert row["forward_start_ns"] + row["forward_ns"] < row["start_ns"] + row["execute_ns"]
        assert row["start_ns"] + row["execute_ns"] < row["sample_start_ns"]
        assert 0 < row["bookkeep_ns"] < row["sample_ns"]
        assert (row["device_start_ns"], row["device_ns"]) == (None, None)
        assert (row["graph_mode"], row["computed_tokens"]) == (0, row["scheduled_tokens"])


def test_vllms_own_scopes_saw_the_same_phases(recorded: tuple[Run, dict[str, Any], bool]) -> None:
    run, spans, _ = recorded
    workers = run.workers
    began, ended = spans["forward"].T
    start = workers["forward_start_ns"].to_numpy()
    end = start + workers["forward_ns"].to_numpy()
    assert len(began) == workers.num_rows
    assert (began <= start).all()
    assert (end <= ended).all()
    assert np.median((ended - began) - (end - start)) < 200_000  # entering and leaving the scope
    assert (spans["preprocess"][:, 1] <= start).all()
    assert (spans["postprocess"][:, 0] >= end).all()
    kept = workers["sample_start_ns"].to_numpy() + (workers["sample_ns"].to_numpy() - workers["bookkeep_ns"].to_numpy())
    assert (spans["bookkeep"][:, 0] <= kept).all()
    assert (spans["sample"][:, 1] <= kept).all()


def test_the_report_says_where_the_time_went(recorded: tuple[Run, dict[str, Any], bool]) -> None:
    run = recorded[0]
    found = run.analysis()
    assert found.phases is not None
    assert sum(found.phases.shares.values()) == pytest.approx(1)
    assert found.phases.shares["forward"] > 0.1
    (section,) = [part for part in run_document(run, found).sections if part.title == "Inside the step"]
    assert f"{found.phases.shares['forward']:.0%}" in section.sentences[0].text
    (bars,) = section.bars
    assert bars.bars[-1].name.startswith("8 running")
    assert [row[0] for row in section.tables[0].rows] == list(found.phases.ns)
