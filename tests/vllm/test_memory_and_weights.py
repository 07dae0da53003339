"""What `run.json` says of memory and of the model as loaded, on a real engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine_probe import Probe


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
