"""Tokens that a KV connector supplies are told from those of the prefix cache."""

from pathlib import Path

from vllm import SamplingParams
from vllm.config import KVTransferConfig

from engine_probe import Probe
from engine_probe.record.schema import WaitingReason
from tests.support.planted_connector import SUPPLIED, loaded
from tests.support.scheduler_engine import core_of, scheduler_engine


def test_tokens_of_a_connector_are_counted_apart(tmp_path: Path) -> None:
    """Prompts of 80 tokens, 16 of them in the prefix cache from the third request on."""
    transfer = KVTransferConfig(
        kv_connector="PlantedConnector",
        kv_connector_module_path="tests.support.planted_connector",
        kv_role="kv_both",
    )
    engine = scheduler_engine(kv_transfer_config=transfer, num_gpu_blocks_override=200)
    scheduler, loaded_before = core_of(engine).scheduler, dict(loaded)
    assert not loaded_before
    parameters = SamplingParams(max_tokens=3, ignore_eos=True, detokenize=False)
    with Probe(engine, tmp_path / "run", telemetry=False) as probe:
        for index in range(9):
            prompt = [10] * 16 + [20 + index] * 64
            engine.add_request(f"{index}", {"prompt_token_ids": prompt}, parameters)
            while engine.has_unfinished_requests():
                engine.step()
                for request in scheduler.requests.values():  # the load ends
                    if request.status.name == "WAITING_FOR_REMOTE_KVS":
                        scheduler.finished_recving_kv_req_ids.add(request.request_id)
    run = probe.run
    assert run.status == "complete", run.notes
    rows = run.requests.to_pylist()
    assert {row["request_id"]: row["connector_tokens"] for row in rows} == loaded
    local = {row["request_id"]: row["cached_tokens"] - row["connector_tokens"] for row in rows}
    assert {*local.values()} == {0, 16}
    assert sum(run.iterations["connector_tokens"].to_pylist()) == 6 * SUPPLIED
    assert sum(run.iterations["cached_tokens"].to_pylist()) == sum(row["cached_tokens"] for row in rows)
    assert WaitingReason.REMOTE_KV in run.iterations["waiting_reason"].to_pylist()
    assert run.summary().prefix_cache.connector_tokens == 6 * SUPPLIED
