"""Settings that differ between two measurements, each of which may be the cause of a change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine_probe.recordings.run import Run

WORKLOAD = "workload."
OTHER_WORKLOAD = "Not the same workload, so not the same experiment"
MADE = "made_by"
TITLES = {
    MADE: "made by",
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
MACHINE = ("process.host", "hardware.")  # beginnings of the names of settings that tell machines apart
DERIVED = {"sha256", "notes"}  # keys of the workload that follow from the others
NAMED = {  # settings that change what an engine can do; the effect of other arguments shows in these
    "model": ("name", "dtype", "max_model_len"),
    "kv": ("blocks", "block_size_tokens", "prefix_caching"),
    "limits": ("max_num_seqs", "max_num_batched_tokens", "policy"),
    "versions": ("vllm", "distribution"),
    "process": ("host",),
}
COMPILATION = "compilation"  # recordings before schema version 5 lack it
OF_COMPILATION = ("mode", "graph_mode", "max_capture_size")
ENVIRONMENT = "environment."  # recordings before 1.0 may lack it
# Names that vLLM draws for each process, which earlier recordings hold: no settings.
DRAWN = frozenset({"VLLM_DIST_IDENT", "VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME"})
OF_SPECULATION = ("method", "num_speculative_tokens")
ARGUMENTS = {
    "model_config": ("quantization", "enforce_eager"),
    "cache_config": ("cache_dtype", "gpu_memory_utilization"),
    "parallel_config": ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
}


@dataclass(frozen=True)
class SettingDifference:
    """Holds a setting that differs between the two measurements."""

    name: str  # group and key, as in `run.json`
    before: str
    after: str

    @property
    def of_workload(self) -> bool:
        return self.name.startswith(WORKLOAD)

    @property
    def title(self) -> str:
        """Return the name that reports use, which is vLLM's if it has one."""
        if self.of_workload:
            return self.name.removeprefix(WORKLOAD)
        return TITLES.get(self.name, self.name.rpartition(".")[2])


def setting_differences(old: Run, new: Run) -> list[SettingDifference]:
    """Return the differences, the workload's first, because another workload is another experiment."""
    before, after = settings(old.facts), settings(new.facts)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if not old.facts.get(COMPILATION) or not new.facts.get(COMPILATION):
        names = [name for name in names if not name.startswith(COMPILATION)]
    if any("environment" not in run.facts["engine"] for run in (old, new)):
        names = [name for name in names if not name.startswith(ENVIRONMENT)]
    differences = [SettingDifference(name, told(before, name), told(after, name)) for name in names]
    return sorted(differences, key=lambda difference: not difference.of_workload)


def difference_lines(differences: Sequence[SettingDifference]) -> Iterator[str]:
    """Yield one line for the workload and one for each other setting."""
    of_workload = [difference for difference in differences if difference.of_workload]
    if of_workload:
        parts = ", ".join(f"{setting.title} {setting.before} and {setting.after}" for setting in of_workload)
        yield f"{OTHER_WORKLOAD}: {parts}"
    for difference in differences:
        if not difference.of_workload:
            yield f"{difference.name} differs: {difference.before} before, {difference.after} after"


def settings(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that may explain a change, by dotted name."""
    twin = facts.get("predicted")
    how = "a real engine" if twin is None else f"prediction from {twin['calibrated_from']}"
    values = {MADE: how, **dict(leaves(WORKLOAD, facts.get("workload") or {}))}
    for group, keys in NAMED.items():
        values |= present(group, keys, facts[group])
    environment = facts["engine"].get("environment", {})
    values |= {f"{ENVIRONMENT}{name}": value for name, value in environment.items() if name not in DRAWN}
    arguments = facts["engine"]["arguments"]
    for group, keys in ARGUMENTS.items():
        config = arguments.get(group)
        values |= present("engine", keys, config) if isinstance(config, dict) else {}
    drafts = arguments.get("speculative_config") or dict.fromkeys(OF_SPECULATION)
    values |= present("speculative_config", OF_SPECULATION, drafts)
    values |= present(COMPILATION, OF_COMPILATION, facts.get(COMPILATION) or {})
    hardware = facts.get("hardware") or {}
    values |= present("hardware", ("name", "cores"), hardware.get("host") or {})
    return values | {"hardware.gpus": [gpu.get("name") for gpu in hardware.get("gpus") or []]}


def present(group: str, keys: Sequence[str], recorded: dict[str, Any]) -> dict[str, Any]:
    return {f"{group}.{key}": recorded[key] for key in keys if key in recorded}


def leaves(prefix: str, settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from leaves(f"{prefix}{name}.", value)
        elif not (prefix == WORKLOAD and name in DERIVED):
            yield f"{prefix}{name}", value


def told(settings: dict[str, Any], name: str) -> str:
    """Return a setting's value as text: "none" if it is None, or if a recorded workload has no such setting."""
    if name not in settings:
        if name.startswith(ENVIRONMENT):
            return "not set"
        has_workload = any(known.startswith(WORKLOAD) for known in settings)
        return "none" if name.startswith(WORKLOAD) and has_workload else "not recorded"
    value = settings[name]
    if value is None or value == []:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
