"""The number of ranks: all of them need GPUs or cores, some of them share one copy of the weights."""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe.engine.parallelism import rank_count, recorded_rank_count, size_words, weight_shards
from engine_probe.errors import InputError

TENSOR, PIPELINE = {"tensor_parallel_size": 2}, {"pipeline_parallel_size": 3}
CONTEXT, DATA = {"prefill_context_parallel_size": 2}, {"data_parallel_size": 4}


@pytest.mark.parametrize(
    ("arguments", "ranks", "shards"),
    [
        ({}, 1, 1),
        (TENSOR, 2, 2),
        (TENSOR | PIPELINE, 6, 6),
        (DATA, 4, 1),
        (TENSOR | DATA, 8, 2),
        (TENSOR | CONTEXT, 4, 2),
        (TENSOR | PIPELINE | CONTEXT | DATA, 48, 6),
    ],
)
def test_every_rank_is_counted_and_copies_of_the_weights_are_no_shards(
    arguments: dict[str, object], ranks: int, shards: int
) -> None:
    assert (rank_count(arguments), weight_shards(arguments)) == (ranks, shards)


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True, None])
def test_a_size_that_is_no_count_is_refused_with_its_name(size: object) -> None:
    with pytest.raises(InputError, match=r"^engine.arguments.data_parallel_size is .*: give a whole number from 1 on"):
        rank_count({"data_parallel_size": size})


@pytest.mark.parametrize(
    ("parallel", "ranks"),
    [
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "data_parallel_size": 1}, 8),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 1, **CONTEXT, **DATA}, 16),
        ({"tensor_parallel_size": 4}, None),
        (None, None),
    ],
)
def test_a_recording_tells_its_ranks_or_does_not(parallel: dict[str, Any] | None, ranks: int | None) -> None:
    arguments = {} if parallel is None else {"parallel_config": parallel}
    assert recorded_rank_count({"engine": {"arguments": arguments}}) == ranks


def test_a_sentence_names_the_sizes_that_are_given() -> None:
    assert size_words({"dtype": "float16"}) == "one rank"
    assert size_words(DATA | TENSOR) == "tensor_parallel_size 2, data_parallel_size 4"
