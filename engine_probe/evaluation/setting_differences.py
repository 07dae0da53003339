"""What else differs between two measurements that are compared: a change may be its doing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine_probe.recordings.run import Run

WORKLOAD = "workload."
DERIVED = {"sha256", "notes"}  # of the workload: they follow from the rest
NAMED = {  # what changes what an engine can do; all other arguments have their effect in these or are told by vLLM
    "model": ("name", "dtype", "max_model_len"),
    "kv": ("blocks", "block_size_tokens", "prefix_caching"),
    "limits": ("max_num_seqs", "max_num_batched_tokens", "policy"),
    "versions": ("vllm", "distribution"),
    "process": ("host",),
}
ARGUMENTS = {
    "model_config": ("quantization", "enforce_eager"),
    "cache_config": ("cache_dtype", "gpu_memory_utilization"),
    "parallel_config": ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
}


def other_settings(old: Run, new: Run) -> Iterator[str]:
    """The workload first: answers to other questions are another experiment."""
    was, now = settings(old.facts), settings(new.facts)
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    asked = [name for name in names if name.startswith(WORKLOAD)]
    if asked:
        parts = ", ".join(f"{name.removeprefix(WORKLOAD)} {told(was, name)} and {told(now, name)}" for name in asked)
        yield f"Not the same workload, so not the same experiment: {parts}"
    for name in names:
        if name not in asked:
            yield f"{name} differs: {told(was, name)} before, {told(now, name)} after"


def settings(facts: dict[str, Any]) -> dict[str, Any]:
    found = dict(leaves(WORKLOAD, facts.get("workload") or {}))
    found |= {f"{group}.{key}": facts[group].get(key) for group, keys in NAMED.items() for key in keys}
    arguments = facts["engine"]["arguments"]
    for group, keys in ARGUMENTS.items():
        config = arguments.get(group)
        found |= {f"engine.{key}": config.get(key) for key in keys} if isinstance(config, dict) else {}
    hardware = facts.get("hardware") or {}
    host = hardware.get("host") or {}
    found |= {f"hardware.{key}": host.get(key) for key in ("name", "cores")}
    return found | {"hardware.gpus": [gpu.get("name") for gpu in hardware.get("gpus") or []]}


def leaves(prefix: str, settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from leaves(f"{prefix}{name}.", value)
        elif not (prefix == WORKLOAD and name in DERIVED):
            yield f"{prefix}{name}", value


def told(settings: dict[str, Any], name: str) -> str:
    value = settings.get(name)
    return (
        "none"
        if value is None or value == []
        else ", ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )
