"""The report of a plan: which GPU holds the model, how many requests, and what bounds its speed over the load."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine_probe.engine.twin.capacity_plan import CapacityPlan, least_terms
from engine_probe.engine.twin.engine_choice import Candidate
from engine_probe.report.charts.model import Axis, Lines, Series, numbers, placed
from engine_probe.report.document import Cell, Column, Document, Section, Table, says, table
from engine_probe.report.sections.load.engine_choice import (
    EngineChoice,
    choice_json,
    choice_section,
    choice_sentences,
    cost_table,
    costs_json,
    named,
)
from engine_probe.text_format import capitalized, duration

GIB = 1 << 30
COLUMNS = (
    Column("device", words=True),
    Column("weights, GiB", short="weights"),
    Column("workspace, GiB", short="work-\nspace", room="spare"),
    Column("KV pool,\ntokens"),
    Column("concurrent\nrequests"),
    Column("TTFT at least", short="TTFT ≥"),
    Column("TPOT at least", short="TPOT ≥"),
    Column("output tokens/s at most", short="tokens/s ≤"),
)
TABLE_NOTE = (
    "TPOT and tokens/s with as many requests in flight as the pool holds. Bounds from the datasheet: weights and "
    "KV cache read once a step, tokens multiplied and reduced over GPUs at full rates; everything else comes on top."
)
MOMENTS = 60
NOTE = "Each line ends at the requests that run at the same time. A bound, not a prediction: real engines lie below."


@dataclass(frozen=True)
class Planned:
    """One engine on each GPU that is compared, at its most requests."""

    model: str
    engines: Sequence[Candidate]
    doubts: Sequence[str]
    changes: Mapping[str, Sequence[str]]  # by device: arguments each of which would let it start
    money: str | None = None  # the price list
    currency: str | None = None

    @property
    def plans(self) -> list[CapacityPlan]:
        return [each.plan for each in self.engines]


def plan_document(found: Planned, words: Sequence[str] = (), choice: EngineChoice | None = None) -> Document:
    first, plans = found.plans[0], found.plans
    title = f"Predicted: {found.model} with {first.input_len:,} tokens in and {first.output_len:,} out"
    chart = bounds_chart(plans)
    verdict = Section(
        "",
        sentences=(
            *(() if choice is None else choice_sentences(choice)),
            *says(verdict_lines(found)),
            *says(words, "soft"),
            *says(money_lines(found), "caution"),
            *says((f"{capitalized(doubt)}." for doubt in found.doubts), "caution"),
        ),
        charts=lambda: [] if chart is None else [chart],
        tables=(Table(COLUMNS, tuple(map(row, plans)), note=TABLE_NOTE), *cost_table(found.engines, found.currency)),
        shown="always",
    )
    compared = () if choice is None else (choice_section(choice),)
    terms = Section("Memory of one GPU", tables=tuple(map(terms_table, plans)))
    steps = Section("Least time of a step", tables=tuple(map(step_table, plans)))
    return Document(
        title, "from the model's shape and datasheets; nothing was measured", verdict, (*compared, terms, steps)
    )


def money_lines(found: Planned) -> Iterator[str]:
    """Yield which GPUs have no price in the list."""
    missing = [each.plan.device for each in found.engines if each.offer.per_hour is None]
    if found.money is not None and missing:
        yield f"No price is known of {', '.join(missing)}: {found.money} has no option of that name."


def verdict_lines(found: Planned) -> Iterator[str]:
    """Yield who holds the most, and why the others do not start and what to change for that."""
    plans = found.plans
    held = [plan for plan in plans if plan.fits]
    if held:
        best = max(held, key=lambda plan: plan.concurrency)
        most = "the most, " if len(held) > 1 else ""
        pool = f"its KV pool holds {best.kv_capacity_tokens:,} tokens"
        yield f"{named(best)} runs {most}{best.concurrency:,} such requests at the same time; {pool}."
    for plan in plans:
        if plan.memory.refusal:
            yield f"{named(plan)} cannot start: {plan.memory.refusal}."
            if changes := found.changes.get(plan.device):
                yield f"It can with {' or '.join(changes)}."


def row(plan: CapacityPlan) -> tuple[Cell | str, ...]:
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
        duration(bounds.prompt_seconds * 1e9),
        duration(bounds.step_seconds * 1e9),
        f"{bounds.output_tokens_per_s:,.0f}",
    )


def terms_table(plan: CapacityPlan) -> Table:
    memory = plan.memory
    share = ("vLLM's share", f"{memory.budget / GIB:.1f}", f"{memory.share:g} of {memory.device_bytes / GIB:.1f} GiB")
    rows = [
        (
            term.name,
            "not known" if term.size is None else f"{term.size / GIB:.1f}",
            term.derivation + (" (estimated)" if term.is_estimate else ""),
        )
        for term in memory.terms
    ]
    return table(("term", "GiB", "derivation"), (share, *rows), words=(0, 2), title=named(plan))


def step_table(plan: CapacityPlan) -> Table:
    """Return the terms of the least times, each with its formula and figures."""
    rows = ((source.part, source.formula, source.figures) for source in least_terms(plan))
    return table(("term", "formula", "figures"), rows, words=range(3), title=named(plan))


def plan_json(found: Planned, choice: EngineChoice | None = None) -> dict[str, Any]:
    """Return a plan as JSON holds it, or a list of several; sizes are bytes of one GPU."""
    each = [
        {**_one(one.plan), **costs_json(one), "changes_that_fit": list(found.changes.get(one.plan.device, ()))}
        for one in found.engines
    ]
    chosen = {} if choice is None else {"slo": choice_json(choice)}
    currency = {} if found.currency is None else {"currency": found.currency}
    plans = each[0] if len(each) == 1 else {"plans": each}
    return {"predicted": True, "model": found.model, **currency, **chosen, **plans}


def _one(plan: CapacityPlan) -> dict[str, Any]:
    memory = plan.memory
    found = {
        "device": plan.device,
        "gpus": plan.gpus,
        "fits": plan.fits,
        "refusal": memory.refusal,
        "kv_capacity_tokens": plan.kv_capacity_tokens,
        "kv_bytes_per_token": plan.kv_bytes_per_token,
        "sliding_window_tokens": memory.window,
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


def bounds_chart(plans: Sequence[CapacityPlan]) -> Lines | None:
    """Return one line for each device that holds a request; None if none does."""
    held = [plan for plan in plans if plan.concurrency]
    if not held:
        return None
    most = max(plan.concurrency for plan in held)
    grid = np.geomspace(1, most, MOMENTS).round()
    loads = np.unique(np.concatenate([grid, [plan.concurrency for plan in held]]))
    series = []
    for number, plan in enumerate(held):
        mine = loads[loads <= plan.concurrency]
        rates = np.array([plan.bounds(int(load)).output_tokens_per_s for load in mine])
        series.append(Series(named(plan), placed(loads, mine, rates), colour=number))
    x = Axis("concurrent requests", whole=True, log=True)
    return Lines("Throughput at most", NOTE, x, [Axis("output tokens/s")], numbers(loads), series)
