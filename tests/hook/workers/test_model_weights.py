"""Counting weights: packed, tied and quantised ones, experts, and encoders outside the text model."""

from __future__ import annotations

from types import SimpleNamespace as Thing
from typing import Any

import pytest

from engine_probe.hook.workers.model_weights import count_weights

torch = pytest.importorskip("torch", reason="torch is not installed")

BF16 = torch.bfloat16


class Layer(torch.nn.Module):
    """Holds one weight, and the attributes with which vLLM's layers describe their shard."""

    def __init__(self, shape: tuple[int, ...], dtype: Any = BF16, **account: Any) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False)
        vars(self).update(account)


class LinearBase(Layer): ...


class RowParallelLinear(LinearBase): ...


class VocabParallelEmbedding(Layer): ...


class ParallelLMHead(VocabParallelEmbedding): ...


class RoutedExperts(Layer): ...


class Convolution(Layer): ...


class AttentionLayerBase: ...


class MLAAttention(torch.nn.Module, AttentionLayerBase): ...


def counts_of(*layers: Any, tie: bool = False, **worker: Any) -> dict[str, Any]:
    model = torch.nn.Sequential(*layers)
    model.config = Thing(tie_word_embeddings=tie)
    return count_weights(Thing(rank=3, model_runner=Thing(get_model=lambda: model), **worker))


def vocabulary(kind: type[Layer]) -> Layer:
    return kind((10, 8), num_embeddings_per_partition=10, embedding_dim=8)


def test_a_shard_is_counted_as_the_rank_holds_it() -> None:
    """An eighth of 64 inputs on this rank."""
    layer = RowParallelLinear((16, 8), input_size=64, output_size=16, input_size_per_partition=8)
    assert counts_of(layer)["parts"]["linear"] == {"parameters": 128, "bytes": 256, "products": 128}


def test_weights_packed_away_are_counted_by_their_shape() -> None:
    """A CPU backend hands weights to a library and leaves an empty parameter."""
    layer = LinearBase((0,), input_size=8, output_size=16, params_dtype=BF16)
    counts = counts_of(layer)
    assert counts["parts"]["linear"] == {"parameters": 128, "bytes": 256, "products": 128}
    assert counts["dtypes"] == {"bfloat16": 256}


def test_quantised_weights_have_their_bytes_and_the_shape_of_their_matrix() -> None:
    """Eight values of four bits in each int32."""
    layer = LinearBase((1, 16), dtype=torch.int32, input_size=8, output_size=16, params_dtype=BF16)
    assert counts_of(layer)["parts"]["linear"] == {"parameters": 128, "bytes": 64, "products": 128}


def test_a_tied_head_is_read_but_held_once() -> None:
    embedding, head = vocabulary(VocabParallelEmbedding), vocabulary(ParallelLMHead)
    head.weight = embedding.weight
    counts = counts_of(embedding, head)
    assert counts["tied_head"]
    assert counts["parts"]["embedding"] == {"parameters": 80, "bytes": 160, "products": 0}
    assert counts["parts"]["head"] == {"parameters": 80, "bytes": 160, "products": 80}
    assert counts["row_bytes"] == 16
    assert (counts["parameters"], counts["bytes"]) == (80, 160)


def test_a_head_of_its_own_is_held_beside_the_embedding() -> None:
    counts = counts_of(vocabulary(VocabParallelEmbedding), vocabulary(ParallelLMHead))
    assert not counts["tied_head"]
    assert counts["bytes"] == 320


def test_a_model_that_uses_the_embedding_as_its_head() -> None:
    counts = counts_of(vocabulary(VocabParallelEmbedding), tie=True)
    assert counts["parts"]["head"] == {"parameters": 80, "bytes": 160, "products": 80}
    assert counts["bytes"] == 160


def test_experts_are_told_one_by_one() -> None:
    """Four of eight experts here, each gate, up and down of 8 x 2."""
    layer = RoutedExperts(
        (4, 6, 8),
        local_num_experts=4,
        global_num_experts=8,
        hidden_size=8,
        intermediate_size_per_partition=2,
        top_k=2,
        moe_config=Thing(is_act_and_mul=True),
    )
    counts = counts_of(layer)
    assert counts["experts"] == [{"held": 4, "all": 8, "per_token": 2, "parameters": 48, "bytes": 96}]
    assert counts["parts"]["experts"] == {"parameters": 192, "bytes": 384, "products": 192}


def test_encoders_are_held_beside_the_text_model() -> None:
    class Seeing(torch.nn.Sequential):
        supports_multimodal = True
        config = Thing(tie_word_embeddings=False)

        def get_language_model(self) -> Any:
            return self[1]

    layer = {"input_size": 8, "output_size": 16}
    model = Seeing(LinearBase((16, 8), **layer), LinearBase((16, 8), **layer))
    counts = count_weights(Thing(rank=0, model_runner=Thing(get_model=lambda: model)))
    assert counts["parts"]["linear"]["bytes"] == counts["beside_text"]["bytes"] == 256
    assert counts["bytes"] == 512


def test_values_of_another_size_than_keys_are_not_guessed_at() -> None:
    class Attention(torch.nn.Module, AttentionLayerBase):
        num_heads, num_kv_heads, head_size, head_size_v, sliding_window = 2, 1, 32, 16, None

    assert counts_of(Attention())["unknown"] == ["Attention"]


def test_what_is_not_known_is_named() -> None:
    counts = counts_of(Convolution((4, 4)), MLAAttention(), lora_config=Thing())
    assert counts["unknown"] == ["Convolution", "LoRA adapters", "MLAAttention"]
    assert counts["parts"]["other"]["bytes"] == 32


def test_what_multiplies_the_matrices_is_counted_by_bytes() -> None:
    """A scheme says more than the method that holds it."""

    class CompressedTensorsLinearMethod: ...

    class CompressedTensorsW8A8Int8: ...

    method, scheme = CompressedTensorsLinearMethod(), CompressedTensorsW8A8Int8()
    sizes = {"output_size_per_partition": 8, "input_size_per_partition": 8}
    quantised = RowParallelLinear((8, 8), torch.int8, quant_method=method, scheme=scheme, **sizes)
    plain = RowParallelLinear((8, 8), quant_method=method, **sizes)
    schemes = counts_of(quantised, plain)["schemes"]
    assert schemes == {"CompressedTensorsW8A8Int8": 64, "CompressedTensorsLinearMethod": 128}
