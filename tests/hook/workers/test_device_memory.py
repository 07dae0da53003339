"""The parts of a rank's memory, on a stand-in for vLLM's GPU worker, checked by mental arithmetic."""

from __future__ import annotations

from types import SimpleNamespace as Thing
from typing import Any

import msgspec
import pytest

from engine_probe.hook.workers import device_memory as room
from engine_probe.hook.workers.device_memory import PARTS, read_all_workers, read_worker
from engine_probe.record.run_json import Loaded, Memory

torch = pytest.importorskip("torch", reason="torch is not installed")

GIB = 1 << 30
GRAPH_POOL = (0, 1)


def segment(gib: float, used: float, pool: tuple[int, int] = (0, 0), device: int = 0) -> dict[str, Any]:
    return {
        "device": device,
        "segment_pool_id": pool,
        "total_size": int(gib * GIB),
        "allocated_size": int(used * GIB),
    }


class Attention(torch.nn.Module):
    """Looks like vLLM's attention layer: its name, and its base class."""

    num_heads, num_kv_heads, head_size, sliding_window = 2, 1, 32, None
    kv_cache_torch_dtype = torch.bfloat16


class AttentionLayerBase:
    pass


def model() -> Any:
    mixer = type("Attention", (Attention, AttentionLayerBase), {})()
    made = torch.nn.Sequential(torch.nn.Embedding(100, 64), torch.nn.Linear(64, 32, bias=False), mixer)
    made.config = Thing(tie_word_embeddings=False)
    return made.to(torch.bfloat16)


def worker(**changes: Any) -> Any:
    """Make a worker on 80 GiB, 70.5 in use: 15 weights, 40 KV pool, 1 graphs, 4 for activations, 10.5 other."""
    made = Thing(
        rank=0,
        device=torch.device("cuda:0"),
        lora_config=None,
        model_config=Thing(enforce_eager=False),
        cache_config=Thing(kv_cache_memory_bytes=None, gpu_memory_utilization=0.9),
        requested_memory=72 * GIB,
        peak_activation_memory=7 * GIB,  # 6 and the estimate for graphs
        cudagraph_memory_estimate=1 * GIB,
        total_consumed=16 * GIB,
        model_runner=Thing(
            get_model=model,
            model_memory_usage=15 * GIB,
            kv_cache_config=Thing(kv_cache_tensors=[Thing(size=30 * GIB), Thing(size=10 * GIB)]),
        ),
    )
    vars(made).update(changes)
    return made


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace what CUDA, torch's allocator and NVML report."""
    says = {
        "free": int(9.5 * GIB),
        "segments": [
            segment(50, 50),
            segment(10, 6),
            segment(1, 0.2, GRAPH_POOL),
            segment(7, 0, device=1),  # another card
        ],
        "pool": GRAPH_POOL,
        "estimates": True,
    }
    says["gpu"] = properties = Thing(uuid="1234", name="a card", total_memory=80 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (says["free"], 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: says["segments"])
    monkeypatch.setattr(room, "nvml_used", lambda uuid: 71 * GIB)
    monkeypatch.setattr(room, "graph_pool", lambda: says["pool"])
    monkeypatch.setattr(room, "estimate_is_applied", lambda: says["estimates"])
    return says


def gib(row: dict[str, Any]) -> dict[str, float | None]:
    return {part: None if row[part] is None else row[part] / GIB for part in PARTS}


@pytest.mark.parametrize(("integrated", "whose"), [(0, "the device,"), (1, "the host, whose memory the GPU uses,")])
def test_the_hosts_memory_is_not_taken_for_the_cards(card: dict[str, Any], integrated: int, whose: str) -> None:
    card["gpu"].is_integrated = integrated
    sources = read_worker(worker())["memory"]["sources"]
    assert {sources[total].partition(" through")[0] for total in ("total_bytes", "used_bytes")} == {whose}


def test_the_parts_add_up_to_the_card() -> None:
    """70.5 in use - 15 - 40 - 1 graphs - 4 that torch keeps = 10.5; 80 - 15 - 40 - 1 - 6 at the peak - 10.5 = 7.5."""
    row = read_worker(worker())["memory"]
    expected = {"weights": 15, "kv_pool": 40, "activations": 6, "graphs": 1, "other": 10.5, "free": 7.5}
    assert gib(row) == {f"{part}_bytes": value for part, value in expected.items()}
    assert sum(row[part] for part in PARTS) == row["total_bytes"] == 80 * GIB
    assert (row["reserved_bytes"], row["nvml_used_bytes"]) == (72 * GIB, 71 * GIB)
    assert (row["device"], row["name"]) == ("GPU-1234", "a card")
    assert not row["missing"]
    msgspec.convert(row, Memory)


def test_an_estimate_that_was_not_applied_is_not_taken_off(card: dict[str, Any]) -> None:
    card["estimates"] = False
    assert gib(read_worker(worker())["memory"])["activations_bytes"] == 7


def test_before_0_28_the_peak_was_without_the_estimate() -> None:
    older = worker()
    del older.total_consumed
    assert gib(read_worker(older)["memory"])["activations_bytes"] == 7


def test_a_pool_given_in_bytes_leaves_activations_untold() -> None:
    """vLLM does not profile then: free is what the GPU and torch have free now."""
    given = worker(cache_config=Thing(kv_cache_memory_bytes=40 * GIB))
    del given.peak_activation_memory, given.cudagraph_memory_estimate, given.total_consumed
    row = read_worker(given)["memory"]
    assert gib(row)["free_bytes"] == 9.5 + 4
    assert row["activations_bytes"] is None
    assert "did not profile" in row["missing"]["activations_bytes"]
    assert "reserves nothing" in row["missing"]["reserved_bytes"]


def test_without_a_pool_of_graphs_the_estimate_stands_and_says_so(card: dict[str, Any]) -> None:
    card["pool"] = None
    row = read_worker(worker(cudagraph_memory_estimate=GIB // 2))["memory"]
    assert gib(row)["graphs_bytes"] == 0.5
    assert row["sources"]["graphs_bytes"].startswith("vLLM's estimate")


def test_an_eager_engine_has_no_graphs() -> None:
    assert gib(read_worker(worker(model_config=Thing(enforce_eager=True)))["memory"])["graphs_bytes"] == 0


def test_parts_that_exceed_the_whole_are_not_shown_as_negative(card: dict[str, Any]) -> None:
    card["free"] = 40 * GIB
    row = read_worker(worker())["memory"]
    assert row["other_bytes"] is None
    assert "exceed the whole" in row["missing"]["other_bytes"]
    assert "other_bytes" in row["missing"]["free_bytes"]


@pytest.mark.parametrize("name", ["model_memory_usage", "kv_cache_config"])
def test_a_name_that_a_version_lacks_costs_that_figure_only(name: str) -> None:
    lacking = worker()
    delattr(lacking.model_runner, name)
    result = read_worker(lacking)
    part = {"model_memory_usage": "weights_bytes", "kv_cache_config": "kv_pool_bytes"}[name]
    assert result["memory"][part] is None
    assert name in result["memory"]["missing"][part]
    assert result["memory"]["total_bytes"] == 80 * GIB
    assert result["unread"] == []


def test_a_driver_that_fails_leaves_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_: Any) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lost)
    result = read_worker(worker())
    assert result["memory"] is None
    assert result["unread"] == ["memory of rank 0: RuntimeError: device lost"]
    assert result["loaded"]["parameters"] == 100 * 64 + 64 * 32


def test_another_kind_of_device_is_not_taken_for_a_processor() -> None:
    result = read_worker(worker(device=Thing(type="xpu")))
    assert result["memory"] is None
    assert "a device of type xpu is not read" in result["unread"][0]


def test_ranks_that_cannot_be_asked_are_a_reason_and_no_error() -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError("no workers")

    assert read_all_workers(Thing(collective_rpc=refuse)) == {
        "memory": [],
        "loaded": [],
        "unread": ["TypeError: no workers"],
    }


def test_a_value_of_an_unexpected_type_costs_its_row_and_not_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attention, "sliding_window", (127, 0))
    result = read_all_workers(Thing(collective_rpc=lambda question, **_: [question(worker())]))
    assert result["loaded"] == []
    assert len(result["memory"]) == 1
    assert result["unread"][0].startswith("loaded of rank 0: Expected `int | null`, got `array`")


def test_the_model_is_counted_by_what_a_step_does_with_it() -> None:
    loaded = read_worker(worker())["loaded"]
    assert loaded["parts"]["embedding"] == {"parameters": 6400, "bytes": 12800, "products": 0}
    assert loaded["parts"]["linear"] == {"parameters": 2048, "bytes": 4096, "products": 2048}
    assert loaded["attention"] == [
        {"heads": 2, "kv_heads": 1, "head_size": 32, "window": None, "kv_value_bytes": 2, "layers": 1}
    ]
    assert loaded["unknown"] == []
    msgspec.convert(loaded, Loaded)
