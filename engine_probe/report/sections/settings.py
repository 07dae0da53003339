"""What ran and what was asked of it, below every page."""

from __future__ import annotations

from collections.abc import Mapping

from engine_probe.evaluation.setting_differences import WORKLOAD, leaves, told
from engine_probe.evaluation.setting_differences import settings as of_run
from engine_probe.recordings.run import Run
from engine_probe.report.document import Section, table

LOADS = frozenset({"concurrency", "num_prompts", "arrivals.users", "arrivals.request_rate"})


def settings_section(engines: Mapping[str, Run], loads: frozenset[str] = frozenset()) -> Section:
    """Return those of each kind of engine, by what sets it apart; one column where they are the same for all.

    `loads` are names of the workload in which the points of a curve differ.
    """
    told_of = {label: engine_settings(run) | asked(run, loads) for label, run in engines.items()}
    first = next(iter(told_of.values()))
    if all(each == first for each in told_of.values()):
        told_of = {"value": first}
    rows = ((what, *(each[what] for each in told_of.values())) for what in first)
    made = table(("what", *told_of), rows, words=range(len(told_of) + 1))
    return Section("Settings", tables=(made,), shown="page")


def engine_settings(run: Run) -> dict[str, str]:
    kv, limits, known = run.facts["kv"], run.facts["limits"], of_run(run.facts)
    model = [f"{known['model.dtype']}", f"quantized: {told(known, 'engine.quantization')}"]
    ranks = {what: known.get(f"engine.{what}_parallel_size") for what in ("tensor", "pipeline", "data")}
    return {
        "model": run.facts["model"]["name"],
        "precision": f"{', '.join(model)}, KV cache {told(known, 'engine.cache_dtype')}",
        "longest request": f"{known['model.max_model_len']:,} tokens",
        "KV pool": f"{kv['blocks']:,} blocks of {kv['block_size_tokens']} tokens, {kv['bytes'] / 2**20:,.1f} MiB",
        "prefix caching": "on" if kv["prefix_caching"] else "off",
        "parallel": ", ".join(f"{what} {size}" for what, size in ranks.items() if size is not None) or "not told",
        "eager": told(known, "engine.enforce_eager"),
        "batch": f"max_num_seqs {limits['max_num_seqs']:,}, {limits['max_num_batched_tokens']:,} tokens a step",
        "executor": f"{run.facts['engine']['executor']}, scheduler {run.facts['engine']['scheduler']}",
        "host": run.facts["process"]["host"],
    }


def asked(run: Run, loads: frozenset[str]) -> dict[str, str]:
    """The workload in its own words, as far as it was told."""
    parts = leaves(WORKLOAD, run.facts.get("workload") or {})
    named = [(name.removeprefix(WORKLOAD), value) for name, value in parts if value is not None]
    return {"asked": ", ".join(f"{name} {value}" for name, value in named if name not in loads) or "not told"}
