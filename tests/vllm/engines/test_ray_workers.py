"""vLLM's own wrapper of Ray's workers, whose graph never calls `execute_model` of the worker."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.record.reader import read_stream
from tests.support.devices.stand_in_workers import US, Planted, RunnerV1, VirtualClock, Worker, scheduled


def test_a_step_of_rays_graph_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The wrapper and its `execute_model_ray` are vLLM's; the runner behind them is a stand-in."""
    pytest.importorskip("ray")
    from vllm.v1.executor import ray_utils

    clock, group = VirtualClock(), SimpleNamespace(is_first_rank=True, is_last_rank=True)
    clock.install(monkeypatch)
    monkeypatch.setattr(ray_utils, "get_pp_group", lambda: group)
    wrapper: Any = ray_utils.RayWorkerWrapper(rpc_rank=0)
    wrapper.compiled_dag_cuda_device_set = True  # there is no device
    wrapper.worker = Worker(RunnerV1(clock, Planted(forward=700 * US)))
    assert attach(wrapper, str(tmp_path)) is None
    for tokens in (9, 2):
        assert wrapper.execute_model_ray((scheduled(tokens), None)) == "tokens"
    report = detach(wrapper)
    assert report is not None
    assert (report["rows"], report["failure"]) == (2, None)
    rows = read_stream(tmp_path / "workers-0.arrows", "workers").to_pylist()
    assert [(row["scheduled_tokens"], row["forward_ns"]) for row in rows] == [(9, 700 * US), (2, 700 * US)]
