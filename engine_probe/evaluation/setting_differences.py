"""What else differs between two measurements that are compared: a change may be its doing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine_probe.recordings.run import Run

WORKLOAD = "workload."
OTHER_WORKLOAD = "Not the same workload, so not the same experiment"
TITLES = {
    "model.name": "model",
    "kv.blocks": "KV blocks",
    "kv.block_size_tokens": "tokens per KV block",
    "kv.prefix_caching": "prefix caching",
    "limits.policy": "scheduling policy",
    "versions.vllm": "vLLM",
    "versions.distribution": "build of vLLM",
    "hardware.name": "processor",
    "hardware.gpus": "GPUs",
}
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


@dataclass(frozen=True)
class SettingDifference:
    """One setting that is not the same in both measurements."""

    name: str  # group and key, as `run.json` has them
    before: str
    after: str

    @property
    def of_workload(self) -> bool:
        return self.name.startswith(WORKLOAD)

    @property
    def title(self) -> str:
        """Return the name that reports use: vLLM's own where it has one."""
        if self.of_workload:
            return self.name.removeprefix(WORKLOAD)
        return TITLES.get(self.name, self.name.rpartition(".")[2])


def setting_differences(old: Run, new: Run) -> list[SettingDifference]:
    """Return the workload's first: answers to other questions are another experiment."""
    was, now = settings(old.facts), settings(new.facts)
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    found = [SettingDifference(name, told(was, name), told(now, name)) for name in names]
    return sorted(found, key=lambda each: not each.of_workload)


def difference_lines(found: Sequence[SettingDifference]) -> Iterator[str]:
    """Yield one line for the workload and one for each other setting."""
    asked = [each for each in found if each.of_workload]
    if asked:
        parts = ", ".join(f"{each.title} {each.before} and {each.after}" for each in asked)
        yield f"{OTHER_WORKLOAD}: {parts}"
    for each in found:
        if not each.of_workload:
            yield f"{each.name} differs: {each.before} before, {each.after} after"


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
