"""The report of a plan: which GPU holds the model, how many requests, and what bounds its speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine_probe.engine.twin.capacity_plan import Plan
from engine_probe.report.charts.curves.capacity_plan import bounds_chart
from engine_probe.report.document import Cell, Column, Document, Section, Table, says

GIB = 1 << 30
COLUMNS = (
    Column("device", words=True),
    Column("weights, GiB", short="weights"),
    Column("workspace, GiB", short="work-\nspace", room="spare"),
    Column("KV pool, tokens", short="KV pool,\ntokens"),
    Column("concurrent requests", short="concurrent\nrequests"),
    Column("TTFT at least", short="TTFT ≥"),
    Column("TPOT at least", short="TPOT ≥"),
    Column("output tokens/s at most", short="tokens/s ≤"),
)


def plan_document(model: str, plans: Sequence[Plan], doubts: Sequence[str]) -> Document:
    first = plans[0]
    title = f"Predicted: {model} with {first.input_len:,} tokens in and {first.output_len:,} out"
    chart = bounds_chart(plans)
    verdict = Section(
        "",
        sentences=(*says(verdict_lines(plans)), *says(doubts, "caution")),
        charts=lambda: [] if chart is None else [chart],
        tables=(Table(COLUMNS, tuple(map(row, plans)), note=NOTE),),
        shown="always",
    )
    terms = Section("Memory of one GPU", tables=tuple(map(terms_table, plans)))
    return Document(title, "from the model's shape and data sheets; nothing was measured", verdict, (terms,))


NOTE = (
    "TPOT and tokens/s with as many requests in flight as the pool holds. Bounds from the data sheet: layers' weights "
    "and KV cache read once a step, tokens multiplied at full rate; everything else comes on top."
)


def verdict_lines(plans: Sequence[Plan]) -> Iterator[str]:
    """Yield who holds the most, and why the others do not start."""
    held = [plan for plan in plans if plan.fits]
    if held:
        best = max(held, key=lambda plan: plan.concurrency)
        yield f"{named(best)} runs {best.concurrency:,} such requests, and holds {best.kv_capacity_tokens:,} tokens."
    for plan in plans:
        if plan.memory.refusal:
            yield f"{named(plan)} cannot start: {plan.memory.refusal}."


def named(plan: Plan) -> str:
    return plan.device if plan.gpus == 1 else f"{plan.gpus} x {plan.device}"


def row(plan: Plan) -> tuple[Cell | str, ...]:
    weights, workspace = (term.size or 0.0 for term in plan.memory.terms[:2])
    sizes = (f"{weights / GIB:.1f}", f"~{workspace / GIB:.1f}")
    if not plan.concurrency:
        pool = f"~{plan.kv_capacity_tokens:,}"
        return (named(plan), *sizes, pool, Cell("does not start", "problem"), "-", "-", "-")
    bounds = plan.bounds(plan.concurrency)
    limited = Cell(f"{plan.concurrency:,}", below="max_num_seqs")
    return (
        named(plan),
        *sizes,
        f"~{plan.kv_capacity_tokens:,}",
        f"~{plan.concurrency:,}" if plan.concurrency == plan.held else limited,
        f"{bounds.prompt_seconds * 1e3:.3g} ms",
        f"{bounds.step_seconds * 1e3:.3g} ms",
        f"{bounds.output_tokens_per_s:,.0f}",
    )


def terms_table(plan: Plan) -> Table:
    memory = plan.memory
    columns = (Column("term", words=True), Column("GiB"), Column("derivation", words=True))
    share = ("vLLM's share", f"{memory.budget / GIB:.1f}", f"{memory.share:g} of {memory.device_bytes / GIB:.1f} GiB")
    rows = [
        (
            term.name,
            "not known" if term.size is None else f"{term.size / GIB:.1f}",
            term.derivation + (" (estimated)" if term.is_estimate else ""),
        )
        for term in memory.terms
    ]
    return Table(columns, (share, *rows), title=named(plan))


def plan_json(model: str, plans: Sequence[Plan]) -> dict[str, Any]:
    """Return a plan as JSON holds it, or a list of several; sizes are bytes of one GPU."""
    found = [_one(plan) for plan in plans]
    return {"predicted": True, "model": model, **(found[0] if len(found) == 1 else {"plans": found})}


def _one(plan: Plan) -> dict[str, Any]:
    memory = plan.memory
    found = {
        "device": plan.device,
        "gpus": plan.gpus,
        "fits": plan.fits,
        "refusal": memory.refusal,
        "kv_capacity_tokens": plan.kv_capacity_tokens,
        "kv_bytes_per_token": plan.kv_bytes_per_token,
        "device_bytes": memory.device_bytes,
        "gpu_memory_utilization": memory.share,
        "weights_bytes": memory.weights.size,
        "activations_and_workspace_bytes": memory.activations_and_workspace.size,
        "graphs_bytes": memory.graphs.size,
        "kv_of_one_request_bytes": memory.kv.size,
        "kv_pool_bytes": max(0.0, memory.left - (memory.activations_and_workspace.size or 0.0)),
        "derivations": {term.name: term.derivation for term in memory.terms},
        "input_len": plan.input_len,
        "output_len": plan.output_len,
        "concurrency": plan.concurrency,
        "concurrency_that_the_pool_holds": plan.held,
    }
    if plan.concurrency:
        bounds = plan.bounds(plan.concurrency)
        found |= {
            "ttft_at_least_s": bounds.prompt_seconds,
            "tpot_at_least_s": bounds.step_seconds,
            "output_tokens_per_s_at_most": bounds.output_tokens_per_s,
        }
    return found
