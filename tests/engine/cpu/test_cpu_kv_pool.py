"""The KV pool chosen on the CPU build: what the workload can use, but at most half of the free memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine_probe.engine.cpu import cpu_kv_pool
from engine_probe.engine.cpu.cpu_kv_pool import KvNeed, choose_pool, chosen_pool, memory, pool_of_share
from engine_probe.engine.cpu.host_memory import MemoryNode
from engine_probe.engine.models.geometry import GIB, geometry
from engine_probe.errors import UnavailableError
from tests.support.values import has_values, values

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 16,
    "max_position_embeddings": 4096,
    "vocab_size": 1000,
    "dtype": "bfloat16",
}
SHAPE = geometry(LLAMA)
TOKEN_BYTES = 2 * 16 * 4 * 128 * 2  # key and value, layers, KV heads, head size, bfloat16: 32 KiB
BLOCK_BYTES = 128 * TOKEN_BYTES  # 4 MiB


class TestSize:
    def test_is_what_the_workload_can_use(self) -> None:
        """For each request the blocks of 200 tokens and one more, and the null block."""
        size, sentence = choose_pool(SHAPE, {}, KvNeed(32, 200), 20 * GIB)
        assert size == (32 * 3 + 1) * BLOCK_BYTES
        assert values(sentence) == ["388.0", "12,288", "32", "200", "20.0"]

    def test_shared_prefixes_are_kept_too(self) -> None:
        size, _ = choose_pool(SHAPE, {}, KvNeed(32, 200, shared_tokens=1000), 20 * GIB)
        assert size == (32 * 3 + 8 + 1) * BLOCK_BYTES

    def test_holds_one_sequence_of_the_models_length(self) -> None:
        size, sentence = choose_pool(SHAPE, {}, KvNeed(1, 10), 20 * GIB)
        assert size == (4096 // 128 + 1) * BLOCK_BYTES
        assert values(sentence) == ["132.0", "4,096", "10", "20.0"]

    def test_takes_half_of_what_the_weights_leave(self) -> None:
        free = int(SHAPE.weights_bytes()) + 2 * 100 * BLOCK_BYTES
        size, sentence = choose_pool(SHAPE, {}, KvNeed(1000, 200), free)
        assert size == 100 * BLOCK_BYTES
        assert "half of the memory that is free beside the weights" in sentence
        assert has_values(sentence, "1,000", "200", "11.7")

    def test_takes_half_where_nobody_knows_what_is_needed(self) -> None:
        free = int(SHAPE.weights_bytes()) + 2 * 100 * BLOCK_BYTES
        assert choose_pool(SHAPE, {}, None, free)[0] == 100 * BLOCK_BYTES

    def test_takes_half_for_a_geometry_that_is_unknown_here(self) -> None:
        size, sentence = choose_pool(None, {}, KvNeed(1, 1), 8 * GIB)
        assert size == 4 * GIB
        assert values(sentence) == ["4.0", "8.0"]

    @pytest.mark.parametrize(
        ("arguments", "block_bytes"),
        [
            ({"kv_cache_dtype": "fp8"}, BLOCK_BYTES / 2),
            ({"dtype": "float32"}, BLOCK_BYTES * 2),
            ({"tensor_parallel_size": 2}, BLOCK_BYTES / 2),
            ({"tensor_parallel_size": 8}, BLOCK_BYTES / 4),  # each rank has a KV head of its own at least
            ({"pipeline_parallel_size": 3}, BLOCK_BYTES * 6 / 16),  # 16 layers: the fullest stage has 6
        ],
    )
    def test_is_a_ranks_own(self, arguments: dict[str, object], block_bytes: float) -> None:
        assert choose_pool(SHAPE, arguments, KvNeed(32, 200), 20 * GIB)[0] == (32 * 3 + 1) * block_bytes

    def test_follows_the_block_size(self) -> None:
        size, _ = choose_pool(SHAPE, {"block_size": 32}, KvNeed(32, 200), 20 * GIB)
        assert size == (32 * 8 + 1) * BLOCK_BYTES / 4


class TestTooLittleMemory:
    def test_is_one_sentence_with_a_length_that_fits(self) -> None:
        free = int(SHAPE.weights_bytes()) + 2 * 9 * BLOCK_BYTES
        with pytest.raises(UnavailableError) as caught:
            choose_pool(SHAPE, {}, KvNeed(1, 10), free)
        assert has_values(str(caught.value), "4,096", "132.0", "36.0")
        assert values(str(caught.value).partition("lower max_model_len")[2])[0] == "1,024"
        choose_pool(SHAPE, {"max_model_len": 1024}, KvNeed(1, 10), free)

    def test_names_no_length_where_the_weights_alone_are_too_large(self) -> None:
        with pytest.raises(UnavailableError, match=r"is 0 KiB .*: end other processes that use memory"):
            choose_pool(SHAPE, {}, KvNeed(1, 10), 1000)

    def test_is_vllms_to_fit_where_the_user_lets_it(self) -> None:
        free = int(SHAPE.weights_bytes()) + 2 * 9 * BLOCK_BYTES
        assert choose_pool(SHAPE, {"max_model_len": -1}, None, free)[0] == 9 * BLOCK_BYTES


class TestWhereItIsChosen:
    @pytest.fixture(autouse=True)
    def on_the_cpu_build(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu_kv_pool, "cpu_build", lambda: True)
        monkeypatch.setattr(cpu_kv_pool, "available_bytes", lambda ranks: 8 * GIB // ranks)
        monkeypatch.delenv(cpu_kv_pool.SPACE_VARIABLE, raising=False)

    def test_a_choice_comes_with_its_sentence(self, model: Path) -> None:
        pool, sentence = chosen_pool(model, {}, KvNeed(32, 200))
        assert pool == {"kv_cache_memory_bytes": (32 * 3 + 1) * BLOCK_BYTES}
        assert values(sentence)[-1] == "8.0"

    def test_ranks_share_what_is_free(self, model: Path) -> None:
        _, sentence = chosen_pool(model, {"tensor_parallel_size": 2}, KvNeed(32, 200))
        assert values(sentence)[-1] == "4.0"

    @pytest.mark.parametrize(
        "told", [{"gpu_memory_utilization": 0.3}, {"kv_cache_memory_bytes": 1 << 20}, {"num_gpu_blocks_override": 64}]
    )
    def test_what_the_user_said_stays(self, model: Path, told: dict[str, object]) -> None:
        assert chosen_pool(model, told, KvNeed(4, 100)) == ({}, "")

    def test_vllms_own_variable_counts_as_said(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(cpu_kv_pool.SPACE_VARIABLE, "1")
        assert chosen_pool(model, {}, None) == ({}, "")

    def test_nothing_is_chosen_on_a_gpu_build(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu_kv_pool, "cpu_build", lambda: False)
        assert chosen_pool(model, {}, None) == ({}, "")

    def test_a_model_that_is_not_here_gets_half_of_what_is_free(self) -> None:
        assert chosen_pool(Path("org/name"), {}, KvNeed(1, 1))[0] == {"kv_cache_memory_bytes": 4 * GIB}

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(LLAMA))
        return tmp_path


@pytest.mark.parametrize(
    ("number", "words"), [(512, "0 KiB"), (3 << 10, "3 KiB"), (3 << 19, "1.5 MiB"), (5 << 29, "2.5 GiB")]
)
def test_memory_in_words(number: int, words: str) -> None:
    assert memory(number) == words


TINY = {  # 2 layers of 2 KV heads of 64 values in bfloat16: 1 KiB for each token
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}


def test_a_share_of_the_memory_bounds_the_pool_by_the_rest_beside_the_weights() -> None:
    """Half of 2 GiB less 256 MiB of weights: 768 MiB, of whose 6,144 blocks one is the null block."""
    nodes = [MemoryNode(2 * GIB, 2 * GIB), MemoryNode(GIB, GIB)]
    pool = pool_of_share(TINY, {"gpu_memory_utilization": 0.5}, GIB / 4, nodes)
    assert pool is not None
    assert (pool.bytes, pool.tokens, pool.at_most) == (GIB * 3 // 4, 6143 * 128, True)
    assert pool_of_share(TINY, {}, 0, nodes) is None


def test_a_share_that_is_not_free_or_not_enough_starts_no_engine() -> None:
    with pytest.raises(UnavailableError, match=r"0.9 is 1.8 GiB of the 2.0 GiB that vLLM counts, and 1.5 GiB is free"):
        pool_of_share(TINY, {"gpu_memory_utilization": 0.9}, 0, [MemoryNode(2 * GIB, GIB * 3 // 2)])
    with pytest.raises(UnavailableError, match=r"and the weights take 1.0 GiB: raise it"):
        pool_of_share(TINY, {"gpu_memory_utilization": 0.5}, GIB, [MemoryNode(2 * GIB, 2 * GIB)])
