"""Tokens that a KV connector supplies are told from those of the prefix cache."""

from pathlib import Path
from typing import Any

import pytest

from engine_probe import Probe
from engine_probe.analysis.run.token_times import token_times
from engine_probe.record.schema import WaitingReason
from tests.support.engines.scheduler_engine import core_of


def test_tokens_of_a_connector_are_counted_apart(tmp_path: Path) -> None:
    """Prompts of 80 tokens, 16 of them in the prefix cache from the third request on."""
    from vllm import SamplingParams

    from tests.support.engines.planted_connector import SUPPLIED, engine_with_connector, loaded

    engine = engine_with_connector()
    scheduler = core_of(engine).scheduler
    loaded.clear()  # what other tests of this process had it load
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


@pytest.mark.parametrize(("name", "at", "block", "recomputed"), [("1", 1, 1, 80 - 16), ("0", 5, 2, 84 - 32)])
def test_a_load_that_failed_is_said_and_every_count_stays_exact(
    tmp_path: Path, name: str, at: int, block: int, recomputed: int
) -> None:
    """A block of a running request turns out invalid in its first or fifth step: it is computed from there on again."""
    from vllm import SamplingParams
    from vllm.v1.outputs import KVConnectorOutput

    from tests.support.engines.planted_connector import engine_with_connector

    engine = engine_with_connector()
    scheduler = core_of(engine).scheduler
    update, schedule, live = scheduler.update_from_output, scheduler.schedule, []

    def failing(scheduler_output: Any, output: Any) -> Any:
        if len(live) == at:
            (request,) = scheduler.running
            (blocks,) = scheduler.kv_cache_manager.get_block_ids(request.request_id)
            output.kv_connector_output = KVConnectorOutput(invalid_block_ids={blocks[block]})
        return update(scheduler_output, output)

    def counting(*args: Any, **kwargs: Any) -> Any:
        output = schedule(*args, **kwargs)
        live.append(sum(request.num_computed_tokens for request in scheduler.running))
        return output

    scheduler.update_from_output, scheduler.schedule = failing, counting
    with Probe(engine, tmp_path / "run", telemetry=False) as probe:
        parameters = SamplingParams(max_tokens=12, ignore_eos=True, detokenize=False)
        engine.add_request(name, {"prompt_token_ids": [10] * 80}, parameters)
        while engine.has_unfinished_requests():
            engine.step()
    run = probe.run
    assert run.status == "complete", run.notes
    assert run.facts["close"]["failed_kv_loads"] == 1
    assert any("1 running request" in note for note in run.notes)
    assert run.iterations["kv_tokens_live"].to_pylist() == live
    (row,) = run.requests.to_pylist()
    assert row["output_tokens"] == 12
    assert row["recomputed_tokens"] == recomputed
    assert sum(run.iterations["prefill_tokens"].to_pylist()) == 80 - row["connector_tokens"] + recomputed
    assert row["first_token_iteration"] == (1 if at == 1 else 0)
    delivered = [number for number in range(13) if number != at - 1]
    assert token_times(run.iterations, run.requests)["iteration"].to_pylist() == delivered
    assert run.facts["close"]["requests_with_unknown_token_times"] == 0
