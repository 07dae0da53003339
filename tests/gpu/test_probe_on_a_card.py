"""The probe on a card: the device's time of every step, without a synchronise that would change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_probe import Probe

pytestmark = pytest.mark.gpu

ARGUMENTS = {"num_gpu_blocks_override": 128, "max_model_len": 512, "gpu_memory_utilization": 0.1}


@pytest.fixture(scope="module")
def llm() -> Iterator[Any]:
    from engine_probe.engine.build import build_llm
    from engine_probe.engine.engine_spec import EngineSpec

    engine = build_llm(EngineSpec("tiny", ARGUMENTS))
    yield engine
    engine.llm_engine.engine_core.shutdown()


def generate(llm: Any) -> list[list[int]]:
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": [10 + (i * 7 + j) % 200 for j in range(64)]} for i in range(48)]
    parameters = SamplingParams(max_tokens=96, ignore_eos=True, temperature=0)
    return [list(output.outputs[0].token_ids) for output in llm.generate(prompts, parameters, use_tqdm=False)]


def test_every_step_has_its_device_time(llm: Any, tmp_path: Path) -> None:
    without = generate(llm)
    with Probe(llm, tmp_path / "run") as probe:
        watched = generate(llm)
    assert watched == without
    workers, iterations = probe.run.workers.to_pylist(), probe.run.iterations.to_pylist()
    assert probe.run.status == "complete"
    assert [row["scheduled_tokens"] for row in workers] == [row["scheduled_tokens"] for row in iterations]
    assert all(row["device_ns"] > 0 for row in workers)
    for row, step in zip(workers, iterations, strict=True):
        begun = row["device_start_ns"]
        assert step["start_ns"] < begun
        assert begun + row["device_ns"] < step["start_ns"] + step["schedule_ns"] + step["execute_ns"] + 1_000_000
    first, last = iterations[0], iterations[-1]
    end = last["start_ns"] + last["schedule_ns"] + last["execute_ns"] + last["update_ns"]
    assert sum(row["device_ns"] for row in workers) < 1.01 * (end - first["start_ns"])


def test_the_parts_of_memory_add_up_to_the_card(llm: Any, tmp_path: Path) -> None:
    with Probe(llm, tmp_path / "run") as probe:
        generate(llm)
    (row,) = probe.run.facts["memory"]
    parts = ("weights_bytes", "kv_pool_bytes", "activations_bytes", "graphs_bytes", "other_bytes", "free_bytes")
    assert row["missing"] == {}
    assert sum(row[part] for part in parts) == row["total_bytes"]
    assert row["device"] == probe.run.facts["hardware"]["gpus"][0]["uuid"]
    assert abs(row["nvml_used_bytes"] - row["used_bytes"]) < 1 << 30  # NVML counts what the driver keeps for itself
    assert probe.run.facts["loaded"][0]["bytes"] <= row["weights_bytes"]


def test_nothing_is_synchronised_while_it_records(llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    waited: list[str] = []
    event_waits = torch.cuda.Event.synchronize
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: waited.append("device"))
    monkeypatch.setattr(torch.cuda.Event, "synchronize", lambda event: (waited.append("event"), event_waits(event)))
    generate(llm)
    usual = len(waited)
    waited.clear()
    with Probe(llm, tmp_path / "run"):
        waited.clear()  # the anchors of the device's clock are before the first step
        generate(llm)
        during = len(waited)
    assert during == usual
