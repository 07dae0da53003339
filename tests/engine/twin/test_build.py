"""What a twin cannot have is refused before vLLM is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine_probe import InputError
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.models import tiny
from engine_probe.engine.twin.build import check_twin, without_tokenizer
from engine_probe.engine.twin.drafts.acceptance import Acceptance

RATES = "synthetic_acceptance_rates"
NGRAM = {"method": "ngram", "num_speculative_tokens": 2}


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({"prefill_context_parallel_size": 4}, "engine.arguments.prefill_context_parallel_size = 4: a twin cannot"),
    ({"speculative_config": NGRAM}, "how many drafts the model accepts is not known: give it as vLLM does"),
    ({"speculative_config": "ngram"}, "engine.arguments.speculative_config = 'ngram': a twin needs it as a table"),
    ({"speculative_config": {"method": "ngram"}}, "num_speculative_tokens = None: say how many tokens a draft has"),
    ({"speculative_config": {**NGRAM, "method": "eagle"}}, "method = 'eagle': a twin has drafts of method"),
    ({"speculative_config": {**NGRAM, "method": "eagle3"}}, "would run 2 times in each step, reserve 2 KV slots more"),
    ({"speculative_config": {"model": "m", "num_speculative_tokens": 1}}, "would run once in each step, reserve 1 KV"),
    ({"speculative_config": NGRAM, "async_scheduling": True}, "async_scheduling = true: vLLM has it not with drafts"),
    ({"speculative_config": {**NGRAM, RATES: [0.5]}}, "= [0.5]: give num_speculative_tokens = 2 numbers"),
    ({"speculative_config": {**NGRAM, RATES: [0.5, 0.6]}}, "accepted = [0.5, 0.6] are no shares that fall"),
    ({"speculative_config": {**NGRAM, RATES: [1.5, 0.6]}}, "accepted = [1.5, 0.6] are no shares that fall"),
    ({"speculative_config": {**NGRAM, "synthetic_acceptance_length": 2.0}}, f"give {RATES} in its place"),
    ({"enable_lora": True}, "the time of adapters is not known"),
])  # fmt: skip
def test_it_is_named_with_its_reason(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        check_twin(EngineSpec("tiny", arguments))
    assert sentence in str(refused.value)


def test_the_acceptance_of_drafts_is_given_or_measured_and_the_given_one_counts() -> None:
    measured = Acceptance((0.9, 0.8, 0.7), (0.5, 0.4, 0.3), "runs/x")
    assert check_twin(EngineSpec("tiny", {}), measured) is None
    found = check_twin(EngineSpec("tiny", {"speculative_config": NGRAM}), measured)
    assert found == Acceptance((0.9, 0.8), (0.5, 0.4), "runs/x")
    given = {"speculative_config": {**NGRAM, RATES: [0.6, 0.2]}}
    assert check_twin(EngineSpec("tiny", given), measured) == Acceptance((0.6, 0.2))
    with pytest.raises(InputError, match="num_speculative_tokens = 4: runs/x has drafts of at most 3"):
        check_twin(EngineSpec("tiny", {"speculative_config": {**NGRAM, "num_speculative_tokens": 4}}), measured)


def test_drafts_that_the_device_makes_may_be_asynchronous() -> None:
    drafting = {"speculative_config": {**NGRAM, "method": "ngram_gpu", RATES: [0.6, 0.2]}, "async_scheduling": True}
    assert check_twin(EngineSpec("tiny", drafting)) == Acceptance((0.6, 0.2))


def test_cores_and_ranks_are_no_obstacle() -> None:
    check_twin(EngineSpec("tiny", {"tensor_parallel_size": 2, "data_parallel_size": 4}))


def test_a_folder_without_a_tokenizer_starts_without_one(tmp_path: Path) -> None:
    spec = EngineSpec(str(tmp_path), {})
    assert without_tokenizer(spec) == without_tokenizer(EngineSpec("org/name", {})) == {}  # vLLM refuses or fetches it
    (tmp_path / "config.json").write_text(json.dumps(tiny.CONFIG))
    assert without_tokenizer(spec) == {"skip_tokenizer_init": True}
    assert without_tokenizer(EngineSpec(spec.model, {"tokenizer": "tiny"})) == {}
    (tmp_path / "tokenizer.json").touch()
    assert without_tokenizer(spec) == {}


@pytest.mark.parametrize("field", ["num_local_experts", "n_routed_experts"])
def test_cores_that_take_every_step_together_are_refused(field: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**tiny.CONFIG, field: 8}))
    check_twin(EngineSpec(str(tmp_path), {}))
    with pytest.raises(InputError, match="data_parallel_size = 2: a twin cannot have it with a model of experts"):
        check_twin(EngineSpec(str(tmp_path), {"data_parallel_size": 2}))
