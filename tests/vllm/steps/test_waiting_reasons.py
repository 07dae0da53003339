"""Reasons to wait that few engines know, planted in vLLM's real scheduler: an independent witness sees the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe import Probe
from engine_probe.record.schema import WaitingReason
from tests.support.engines.scheduler_engine import core_of, scheduler_engine
from tests.support.engines.witness import Witness

pytestmark = pytest.mark.lengthy


@pytest.fixture(scope="module")
def roomy() -> Any:
    """An engine that lacks neither KV blocks nor places for the requests of these tests."""
    return scheduler_engine(
        num_gpu_blocks_override=200, enable_prefix_caching=False, enable_lora=True, max_loras=1, max_lora_rank=8
    )


def request(name: str, tokens: int = 6, prompt: int = 40, **more: Any) -> Any:
    from vllm import SamplingParams
    from vllm.v1.request import Request

    parameters = SamplingParams(max_tokens=tokens, ignore_eos=True, detokenize=False)
    return Request(name, [10 + len(name)] * prompt, parameters, None, **more)


@contextmanager
def watched(engine: Any, out: Path) -> Iterator[set[WaitingReason]]:
    """Record within the block, compare every step's reason with the witness's, and give the reasons."""
    found: set[WaitingReason] = set()
    witness = Witness(core_of(engine))
    try:
        with Probe(engine, out) as probe:
            yield found
    finally:
        witness.leave()
    assert probe.run.status == "complete", probe.run.facts["failure"]
    reasons = probe.run.iterations["waiting_reason"].to_pylist()
    assert reasons == [row["waiting_reason"] for row in witness.rows]
    found |= {WaitingReason(reason) for reason in reasons}


def drive(engine: Any, steps: int = 200) -> None:
    for _ in range(steps):
        if not core_of(engine).scheduler.has_unfinished_requests():
            return
        engine.engine_core.get_output()


def test_draft_slots(roomy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request in a step takes its tokens and 90 slots of 512: five decode, and the others wait."""
    scheduler = core_of(roomy).scheduler
    with watched(roomy, tmp_path / "run") as found, monkeypatch.context() as planted:
        drafting = SimpleNamespace(max_num_new_slots_for_drafting=90, num_speculative_tokens=0)
        planted.setitem(vars(scheduler.vllm_config), "speculative_config", drafting)
        for number in range(9):
            scheduler.add_request(request(f"request {number}"))
        drive(roomy)
    assert WaitingReason.DRAFT_SLOTS in found


def test_lora_slots(roomy: Any, tmp_path: Path) -> None:
    """One adapter fits into a batch; who wants the other waits until all with the first one have ended."""
    from vllm.lora.request import LoRARequest

    with watched(roomy, tmp_path / "run") as found:
        for number in range(4):
            adapter = LoRARequest(f"adapter {number % 2}", 1 + number % 2, "/nowhere")
            core_of(roomy).scheduler.add_request(request(f"request {number}", lora_request=adapter))
        drive(roomy)
    assert found == {WaitingReason.LORA_SLOTS, WaitingReason.NOBODY}


def test_streaming_input(roomy: Any, tmp_path: Path) -> None:
    """A session whose turn has ended waits for its next one, while another request goes on."""
    scheduler = core_of(roomy).scheduler
    with watched(roomy, tmp_path / "run") as found:
        scheduler.add_request(request("session", tokens=3, resumable=True))
        scheduler.add_request(request("beside", tokens=20))
        for _ in range(10):
            roomy.engine_core.get_output()
        scheduler.add_request(request("session", tokens=3))  # which ends it
        drive(roomy)
    assert WaitingReason.STREAMING_INPUT in found


def test_the_encoder_s_budget(roomy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of 30 embeddings waits while the encoder has no budget, and is let in once it has."""
    from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
    from vllm.v1.core.encoder_cache_manager import EncoderCacheManager

    scheduler = core_of(roomy).scheduler
    image = MultiModalFeatureSpec(None, "image", "an image", PlaceholderRange(offset=0, length=30))
    with watched(roomy, tmp_path / "run") as found, monkeypatch.context() as planted:
        planted.setattr(scheduler, "encoder_cache_manager", EncoderCacheManager(cache_size=64))
        planted.setattr(scheduler, "max_num_encoder_input_tokens", 0)
        scheduler.add_request(request("beside", tokens=20))
        scheduler.add_request(request("with an image", mm_features=[image]))
        for _ in range(5):
            roomy.engine_core.get_output()
        planted.setattr(scheduler, "max_num_encoder_input_tokens", 64)
        drive(roomy)
    assert found == {WaitingReason.ENCODER, WaitingReason.NOBODY}


def test_a_connector_that_cannot_tell_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its first four steps the connector does not know how many tokens it holds: vLLM holds the request back."""
    from tests.support.engines.planted_connector import engine_with_connector

    engine = engine_with_connector()
    connector = core_of(engine).scheduler.connector
    answers = iter([(None, False)] * 4)
    known = connector.get_num_new_matched_tokens
    monkeypatch.setattr(connector, "get_num_new_matched_tokens", lambda *asked: next(answers, None) or known(*asked))
    with watched(engine, tmp_path / "run") as found:
        engine.add_request("0", {"prompt_token_ids": [10] * 40}, request("0").sampling_params)
        while engine.has_unfinished_requests():
            engine.step()
    assert found == {WaitingReason.OTHER_DEFERRAL, WaitingReason.NOBODY}
