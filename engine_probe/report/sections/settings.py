"""What ran and what was asked of it, below every page."""

from __future__ import annotations

from collections.abc import Mapping

from engine_probe.evaluation.setting_differences import WORKLOAD, leaves, told
from engine_probe.evaluation.setting_differences import settings as of_run
from engine_probe.recordings.run import Run
from engine_probe.report.renderers.html_elements import Html, element, grid, joined
from engine_probe.report.sections.ceilings import ceilings

LOADS = frozenset({"concurrency", "num_prompts", "arrivals.users", "arrivals.request_rate"})


def settings(engines: Mapping[str, Run], loads: frozenset[str] = frozenset()) -> Html:
    """Of each kind of engine, by what sets it apart; one column where the settings are the same for all.

    `loads` are names of the workload in which the points of a curve differ.
    """
    each_told = {label: engine_settings(run) | asked(run, loads) for label, run in engines.items()}
    first = next(iter(each_told.values()))
    if all(each == first for each in each_told.values()):
        each_told = {"value": first}
    rows = [[what, *(each[what] for each in each_told.values())] for what in first]
    table = grid(["what", *each_told], rows, text=range(len(each_told) + 1))
    return joined((element("h2", "Settings"), table, ceilings(next(iter(engines.values())).facts)))


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
