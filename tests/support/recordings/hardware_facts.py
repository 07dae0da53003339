"""What `run.json` and the telemetry hold of made hardware: memory, weights, ceilings and samples of GPUs."""

from __future__ import annotations

from typing import Any

from tests.support.recordings.run_folders import MS, facts

POWER_CAP = 0x4
GIB = 1 << 30


def memory(rank: int = 0, device: str = "GPU-1", **changes: Any) -> dict[str, Any]:
    """A card of 48 GiB: 15 weights, 24 KV pool, 1 graphs, 2 activations, 1 other, 5 free; 90 % reserved."""
    figures = {
        "total_bytes": 48 * GIB,
        "weights_bytes": 15 * GIB,
        "kv_pool_bytes": 24 * GIB,
        "activations_bytes": 2 * GIB,
        "graphs_bytes": 1 * GIB,
        "other_bytes": 1 * GIB,
        "free_bytes": 5 * GIB,
        "reserved_bytes": 48 * GIB * 9 // 10,
        "used_bytes": 43 * GIB,
        "nvml_used_bytes": 43 * GIB,
        "rss_bytes": 3 * GIB,
    } | changes
    missing = {name: "nobody said" for name, value in figures.items() if value is None}
    known = {name: "somebody said" for name, value in figures.items() if value is not None}
    return {"rank": rank, "device": device, "name": "a card", **figures, "sources": known, "missing": missing}


def loaded(rank: int = 0) -> dict[str, Any]:
    """A million values in matrices, a hundred thousand in the head."""
    none = {"parameters": 0, "bytes": 0, "products": 0}
    return {
        "rank": rank,
        "parameters": 1_200_000,
        "bytes": 2_400_000,
        "parts": {
            "linear": {"parameters": 1_000_000, "bytes": 2_000_000, "products": 1_000_000},
            "head": {"parameters": 100_000, "bytes": 200_000, "products": 100_000},
            "embedding": {"parameters": 100_000, "bytes": 200_000, "products": 0},
            "experts": none,
            "other": none,
        },
        "beside_text": none,
        "tied_head": False,
        "row_bytes": 64,
        "experts": [],
        "attention": [{"layers": 2, "heads": 4, "kv_heads": 2, "head_size": 32, "window": None, "kv_value_bytes": 2}],
        "dtypes": {"bfloat16": 2_400_000},
        "unknown": [],
    }


BUSY = "measured while other programs used 48% of the cores"
TRUSTED = {"verdict": "trusted", "doubts": [], "spread": 0.01}
DOUBTFUL = {"verdict": "doubtful", "doubts": [BUSY], "spread": 0.01}


def ceilings(memory_per_s: float, compute_per_s: float, trust: dict[str, Any] | None = None) -> dict[str, Any]:
    """Without `trust` as older versions of `validate` stored them."""
    more = {"stable": True, "quick": False, "measured": "2026-11-21T09:00:00Z", "detail": {}} | (trust or {})
    return {
        "memory read": {"value": memory_per_s, "unit": "B/s", **more},
        "gemm bf16 square": {"value": compute_per_s, "unit": "FLOP/s", **more},
    }


def hardware(
    *rows: dict[str, Any],
    roofs: tuple[float, float] | None = (4e9, 40e9),
    ranks: int = 1,
    trust: dict[str, Any] | None = TRUSTED,
    **more: Any,
) -> dict[str, Any]:
    carried = {row["device"]: ceilings(*roofs, trust) for row in rows} if roofs else {}
    made = facts() | {
        "memory": list(rows),
        "loaded": [loaded(rank) for rank in range(ranks)],
        "unread": [],
        "hardware": {"ceilings": carried},
    }
    made["engine"] = made["engine"] | {"arguments": {"parallel_config": {"tensor_parallel_size": ranks}}}
    return made | more


def gpu_samples(device: int, **columns: list[Any]) -> list[dict[str, Any]]:
    """Return a row of telemetry for each value, a millisecond apart."""
    count = len(next(iter(columns.values())))
    return [
        {"time_ns": number * MS, "device": device} | {name: values[number] for name, values in columns.items()}
        for number in range(count)
    ]
