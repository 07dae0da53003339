"""What a twin cannot have is refused before vLLM is imported."""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe import InputError
from engine_probe.engine.spec import EngineSpec
from engine_probe.engine.twin.build import check_twin


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({"data_parallel_size": 2}, "engine.arguments.data_parallel_size = 2: a twin cannot have it"),
    ({"prefill_context_parallel_size": 4}, "engine.arguments.prefill_context_parallel_size = 4: a twin cannot"),
    ({"speculative_config": {"method": "ngram"}}, "how many drafts the model accepts is not known"),
    ({"enable_lora": True}, "the time of adapters is not known"),
])  # fmt: skip
def test_it_is_named_with_its_reason(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        check_twin(EngineSpec("tiny", arguments))
    assert sentence in str(refused.value)


def test_ranks_that_share_every_step_are_no_obstacle() -> None:
    check_twin(EngineSpec("tiny", {"tensor_parallel_size": 2, "data_parallel_size": 1}))
