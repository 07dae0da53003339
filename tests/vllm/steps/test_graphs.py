"""Graph modes and padding, as vLLM's own code settles them for engines on a GPU; and what a CPU's engine records."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.record.reader import read_stream
from tests.support.devices.stand_in_workers import RunnerV1, VirtualClock, Worker, run_step

SIZES = (1, 2, 4, 8, 16)
Run = Callable[[str, dict[str, object], str], Any]


def runner_with_graphs(clock: VirtualClock, mode: str, settled: list[Any]) -> RunnerV1:
    """Return a stand-in for a runner whose batches pass vLLM's own method and its own dispatcher of graphs.

    `settled` is given vLLM's own statistics of each batch.
    """
    from vllm.config import CompilationConfig, CUDAGraphMode
    from vllm.v1.cudagraph_dispatcher import CudagraphDispatcher
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    compilation = CompilationConfig(cudagraph_capture_sizes=list(SIZES), max_cudagraph_capture_size=SIZES[-1])
    compilation.cudagraph_mode = CUDAGraphMode.NONE  # of a config that no engine has resolved
    config = SimpleNamespace(
        compilation_config=compilation,
        num_speculative_tokens=0,
        lora_config=None,
        scheduler_config=SimpleNamespace(max_num_seqs=SIZES[-1]),
        parallel_config=SimpleNamespace(data_parallel_size=1),
        observability_config=SimpleNamespace(cudagraph_metrics=True),
    )
    dispatcher = CudagraphDispatcher(config)
    dispatcher.initialize_cudagraph_keys(CUDAGraphMode[mode])

    class Runner(RunnerV1):
        vllm_config, cudagraph_dispatcher = config, dispatcher
        uniform_decode_query_len = 1
        model_config = SimpleNamespace(is_encoder_decoder=False)
        input_batch = SimpleNamespace(lora_id_to_lora_request={})
        _is_uniform_decode = staticmethod(GPUModelRunner._is_uniform_decode)

        def _determine_batch_execution_and_padding(self, num_tokens: int, num_reqs: int) -> Any:
            longest = 1 if num_tokens != 5 else 4  # a batch of five tokens holds a part of a prompt
            requests = num_tokens if longest == 1 else 2
            found = GPUModelRunner._determine_batch_execution_and_padding(
                self, num_tokens, requests, None, max_num_scheduled_tokens=longest
            )
            settled.append(found[4])
            return found

    return Runner(clock)


@pytest.mark.parametrize(
    ("mode", "codes"),
    [
        ("FULL_AND_PIECEWISE", [2, 2, 1, 2, 0]),
        ("FULL_DECODE_ONLY", [2, 2, 0, 2, 0]),
        ("PIECEWISE", [1, 1, 1, 1, 0]),
        ("NONE", [0, 0, 0, 0, 0]),
    ],
)
def test_the_row_is_what_vllm_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, codes: list[int]
) -> None:
    clock = VirtualClock()
    clock.install(monkeypatch)
    stats: list[Any] = []  # vLLM's own, the witness
    worker = Worker(runner_with_graphs(clock, mode, stats))
    assert attach(worker, str(tmp_path)) is None
    for tokens in (1, 3, 5, 16, 17):
        run_step(worker, tokens)
    report = detach(worker)
    assert report is not None
    assert report["failure"] is None
    rows = read_stream(tmp_path / "workers-0.arrows", "workers").to_pylist()
    assert [row["graph_mode"] for row in rows] == codes
    assert [row["scheduled_tokens"] for row in rows] == [each.num_unpadded_tokens for each in stats]
    assert [row["computed_tokens"] for row in rows] == [each.num_padded_tokens for each in stats]
    names = {0: "NONE", 1: "PIECEWISE", 2: "FULL"}
    assert [names[row["graph_mode"]] for row in rows] == [each.runtime_mode for each in stats]


@pytest.mark.slow
@pytest.mark.parametrize(("eager", "compiled"), [(True, "NONE"), (False, "DYNAMO_TRACE_ONCE")])
def test_a_cpu_compiles_and_has_no_graphs(in_own_process: Run, tmp_path: Path, eager: bool, compiled: str) -> None:
    lines = f"""
from engine_probe import Probe
from tests.support.engines.fixed_prompts import generate
with Probe(llm, {str(tmp_path / "run")!r}) as probe:
    generate(llm, count=3, tokens=10)
padding = [row["computed_tokens"] - row["scheduled_tokens"] for row in probe.run.workers.to_pylist()]
answer = [probe.run.facts["compilation"], list(zip(probe.run.workers["graph_mode"].to_pylist(), padding))]
"""
    facts, steps = in_own_process("tiny", {"max_model_len": 512, "enforce_eager": eager}, lines)
    assert (facts["mode"], facts["graph_mode"], facts["capture_sizes"]) == (compiled, "NONE", [])
    assert len(steps) == 10
    assert set(map(tuple, steps)) == {(0, 0)}
