"""The settings of the engines and of the workload, at the end of every page."""

from collections.abc import Mapping
from typing import Any

from engine_probe.evaluation.setting_differences import WORKLOAD, leaves, told
from engine_probe.evaluation.setting_differences import settings as of_run
from engine_probe.recordings.run import Run
from engine_probe.report.document import Section, table
from engine_probe.text_format import byte_size, counted

LOADS = frozenset({"concurrency", "num_prompts", "arrivals.users", "arrivals.request_rate"})


def settings_section(engines: Mapping[str, Run], loads: frozenset[str] = frozenset()) -> Section:
    """Return a column for each kind of engine, or a single one if all have the same settings.

    `loads` are the workload's settings in which the points of a curve differ; they are left out.
    """
    columns = {label: engine_settings(run) | workload_settings(run, loads) for label, run in engines.items()}
    first = next(iter(columns.values()))
    if all(column == first for column in columns.values()):
        columns = {"value": first}
    rows = ((name, *(column[name] for column in columns.values())) for name in first)
    settings_table = table(("setting", *columns), rows, words=range(len(columns) + 1))
    return Section("Settings", tables=(settings_table,), shown="page")


def engine_settings(run: Run) -> dict[str, str]:
    kv, limits, known = run.facts["kv"], run.facts["limits"], of_run(run.facts)
    ranks = {kind: known.get(f"engine.{kind}_parallel_size") for kind in ("tensor", "pipeline", "data")}
    return {
        "model": run.facts["model"]["name"],
        "precision": f"{told(known, 'model.dtype')}, quantization {told(known, 'engine.quantization')}, "
        f"KV cache {told(known, 'engine.cache_dtype')}",
        "max_model_len": f"{known['model.max_model_len']:,} tokens",
        "max_num_seqs": f"{limits['max_num_seqs']:,}",
        "max_num_batched_tokens": f"{limits['max_num_batched_tokens']:,}",
        "KV pool": f"{kv['blocks']:,} blocks of {kv['block_size_tokens']} tokens, {byte_size(kv['bytes'])}",
        "prefix caching": "on" if kv["prefix_caching"] else "off",
        "parallel": ", ".join(f"{kind} {size}" for kind, size in ranks.items() if size is not None) or "not recorded",
        "enforce_eager": told(known, "engine.enforce_eager"),
        **compilation_settings(run.facts.get("compilation")),
        "executor": f"{run.facts['engine']['executor']}, scheduler {run.facts['engine']['scheduler']}",
        "host": run.facts["process"]["host"],
    }


def compilation_settings(found: dict[str, Any] | None) -> dict[str, str]:
    """Return how the model was compiled and which graphs were captured; nothing for recordings without it."""
    if not found:
        return {}
    sizes = found["capture_sizes"]
    graphs = f"{found['graph_mode']}, {counted(len(sizes), 'size')} up to {max(sizes):,} tokens" if sizes else "none"
    return {"compilation": f"{found['mode']}, backend {found['backend']}", "CUDA graphs": graphs}


def workload_settings(run: Run, loads: frozenset[str]) -> dict[str, str]:
    pairs = leaves(WORKLOAD, run.facts.get("workload") or {})
    named = [(name.removeprefix(WORKLOAD), value) for name, value in pairs if value is not None]
    return {"workload": ", ".join(f"{name} {value}" for name, value in named if name not in loads) or "not recorded"}
