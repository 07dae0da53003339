"""What `run.json` says of memory and of the model as loaded, on a real engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine_probe import Probe
from engine_probe.analysis.step.roofline import Roofline


def test_weights_are_those_of_the_checkpoint(tiny_llm: Any, tmp_path: Path) -> None:
    """Every value of its file, once; the matrices by their shapes, although the CPU backend has packed them away."""
    with Probe(tiny_llm, tmp_path / "run") as probe:
        pass
    facts = probe.run.facts
    (loaded,) = facts["loaded"]
    config = json.loads((Path(facts["model"]["name"]) / "config.json").read_text())
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    size = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    matrices = layers * (hidden * (queries + 2 * keys) + queries * hidden + 3 * hidden * inner)
    assert loaded["parts"]["linear"] == {"parameters": matrices, "bytes": 2 * matrices, "products": matrices}
    assert loaded["parts"]["head"]["parameters"] == config["vocab_size"] * hidden
    assert loaded["tied_head"] == config["tie_word_embeddings"]
    assert loaded["parts"]["other"]["parameters"] == (2 * layers + 1) * hidden
    assert loaded["dtypes"] == {"bfloat16": loaded["bytes"]}
    assert loaded["unknown"] == facts["unread"] == []
    (attention,) = loaded["attention"]
    assert attention["layers"] * 2 * attention["kv_heads"] * attention["head_size"] * attention["kv_value_bytes"] == (
        facts["kv"]["bytes_per_block"] // facts["kv"]["block_size_tokens"]
    )


def test_memory_of_a_processor_is_no_more_than_is_known(tiny_llm: Any, tmp_path: Path) -> None:
    with Probe(tiny_llm, tmp_path / "run") as probe:
        pass
    (row,) = probe.run.facts["memory"]
    assert row["device"] == "cpu"
    assert row["weights_bytes"] == probe.run.facts["loaded"][0]["bytes"]
    assert row["kv_pool_bytes"] == probe.run.facts["kv"]["bytes"]
    assert row["graphs_bytes"] == 0
    assert 0 < row["rss_bytes"] < row["total_bytes"]
    untold = {name for name, value in row.items() if value is None}
    assert {"activations_bytes", "other_bytes", "nvml_used_bytes"} <= untold
    assert untold == set(row["missing"])


def test_operations_are_those_vllm_estimates_itself(tiny_llm: Any, tmp_path: Path) -> None:
    """A witness: vLLM's own model of a step, from its configuration, in every step of answers alone.

    Of bytes it counts activations between kernels too, so that it can only be above.
    """
    from vllm import SamplingParams
    from vllm.v1.metrics.perf import ExecutionContext, ModelMetrics

    prompts = [{"prompt_token_ids": list(range(10, 10 + length))} for length in (7, 30, 31, 64)]
    with Probe(tiny_llm, tmp_path / "run") as probe:
        tiny_llm.generate(prompts, SamplingParams(max_tokens=12, ignore_eos=True, temperature=0), use_tqdm=False)
    run = probe.run
    found = run.analysis().roofline
    assert isinstance(found, Roofline), found
    witness = ModelMetrics(tiny_llm.llm_engine.vllm_config)
    steps = run.iterations.to_pylist()
    assert sum(step["decode_tokens"] == 4 for step in steps) == 11
    for number, step in enumerate(steps):
        if step["prefill_tokens"] or not step["scheduled_tokens"]:
            continue
        context = ExecutionContext()
        count = step["decode_tokens"]
        for request in range(count):  # only the sum of the contexts matters
            share = step["kv_tokens_live"] // count + (request < step["kv_tokens_live"] % count)
            context.add(1, share, is_prefill=False)
        assert found.flops.least[number] == found.flops.most[number] == witness.get_num_flops(context)
        moved = witness.get_read_bytes(context) + witness.get_write_bytes(context)
        assert 0.5 * moved < found.bytes.least[number] <= found.bytes.most[number] <= moved
