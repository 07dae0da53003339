"""What engines cost and draw at the least, and which of them can meet limits on latencies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine_probe.engine.twin.capacity_plan import CapacityPlan
from engine_probe.engine.twin.engine_choice import Candidate, cheapest
from engine_probe.report.document import Cell, Column, Section, Sentence, Table, table
from engine_probe.text_format import counted

COLUMNS = (
    Column("GPUs", words=True),
    Column("engines", words=True),
    Column("requests in flight of each, at most", short="in flight\nof each ≤"),
    Column("TTFT at least", short="TTFT ≥"),
    Column("TPOT at least", short="TPOT ≥"),
    Column("requests/s at most", short="requests/s\n≤"),
    Column("cost\nper hour"),
)
NOTE = (
    "By the least times of the datasheets: what they exclude is surely excluded; what they leave may need more GPUs. "
    "Recordings of such a GPU say more: sweep NAME --twin RECORDING."
)


@dataclass(frozen=True)
class EngineChoice:
    """Engines that were compared by limits on latencies, and the demand in requests per second, if there is one."""

    candidates: Sequence[Candidate]
    limits: str
    demand: float | None
    currency: str | None

    @property
    def best(self) -> Candidate | None:
        return cheapest(self.candidates)


def named(plan: CapacityPlan) -> str:
    return plan.device if plan.gpus == 1 else f"{plan.gpus} x {plan.device}"


def choice_sentences(choice: EngineChoice) -> Iterator[Sentence]:
    """Yield the answer: the cheapest, or the one of the fewest GPUs where no price is known."""
    asked = choice.limits + ("" if choice.demand is None else f" and {choice.demand:g} requests/s")
    best = choice.best
    if best is None:
        yield Sentence(f"None of these GPUs meets {asked}: {nearest(choice)}.", "problem")
        return
    words = f"{engine_words(best)} ({gpu_words(best)})"
    if best.per_hour is None:
        yield Sentence(
            f"The fewest GPUs that may meet {asked}: {words}. Their prices are not known: name a list of "
            f"prices with --money, and the cheapest is chosen.",
            "good",
        )
        return
    yield Sentence(
        f"The cheapest that may meet {asked}: {words}, {best.per_hour:,.2f} {choice.currency} an hour.", "good"
    )


def nearest(choice: EngineChoice) -> str:
    """Say why the engine that comes nearest does not."""
    started = [each.plan for each in choice.candidates if each.plan.concurrency]
    if not started:
        return "the model starts on none of them"
    plan = min(started, key=lambda each: each.bounds(1).step_seconds)
    least = plan.bounds(1)
    return (
        f"alone on {named(plan)} a request takes at least {least.prompt_seconds * 1e3:.3g} ms to its first token and "
        f"{least.step_seconds * 1e3:.3g} ms for each further one"
    )


def engine_words(each: Candidate) -> str:
    shared = "" if each.plan.gpus == 1 else f" with tensor_parallel_size={each.plan.gpus}"
    return f"{counted(each.engines, 'engine')}{shared}"


def short_words(each: Candidate) -> str:
    if each.plan.gpus == 1:
        return f"{each.engines}"
    return f"{each.engines}, {'TP' if each.engines == 1 else 'each TP'} {each.plan.gpus}"


def gpu_words(each: Candidate) -> str:
    return f"{each.gpus} x {each.plan.device}"


def choice_section(choice: EngineChoice) -> Section:
    """Return every number of GPUs that was compared."""
    rows = tuple(row(each, choice) for each in choice.candidates)
    return Section(f"Within {choice.limits}", tables=(Table(COLUMNS, rows, note=NOTE),), shown="always")


def row(each: Candidate, choice: EngineChoice) -> tuple[Cell | str, ...]:
    if each.bounds is None:
        why = "excluded" if each.plan.concurrency else "does not start"
        return (named(each.plan), Cell(why, "problem"), "-", "-", "-", "-", "-")
    bounds = each.bounds
    cost = "not known" if each.per_hour is None else f"{each.per_hour:,.2f} {choice.currency}"
    return (
        gpu_words(each),
        Cell(short_words(each), "good" if each is choice.best else "plain"),
        f"{bounds.concurrency:,}",
        f"{bounds.prompt_seconds * 1e3:.3g} ms",
        f"{bounds.step_seconds * 1e3:.3g} ms",
        f"{each.requests_per_s:,.3g}",
        cost,
    )


def cost_table(engines: Sequence[Candidate], currency: str | None) -> tuple[Table, ...]:
    """Return the least cost and energy of a token, each with its derivation; empty where neither is known."""
    rows = []
    for each in engines:
        rate = 0.0 if each.bounds is None else each.bounds.output_tokens_per_s
        if each.cost_of_million is not None:
            price = f"{each.plan.gpus} x {each.offer.per_hour:,.2f} {currency} an hour / {rate:,.0f} tokens/s"
            cost = f"{each.cost_of_million:,.3g} {currency}"
            rows.append((named(each.plan), "cost of a million output tokens", cost, f"{price} ({each.offer.source})"))
        if each.joules_per_token is not None:
            power = f"{each.plan.gpus} x {each.offer.watts:,.0f} W / {rate:,.0f} tokens/s ({each.offer.source})"
            rows.append((named(each.plan), "energy of an output token", f"{each.joules_per_token:,.3g} J", power))
    titles = ("device", "figure", "at least", "derivation")
    return (table(titles, rows, words=(0, 1, 3), title="Cost and energy"),) if rows else ()


def costs_json(each: Candidate) -> dict[str, Any]:
    """Return what is known of costs and energy."""
    found = {
        "per_hour": each.per_hour,
        "cost_of_million_output_tokens_at_least": each.cost_of_million,
        "joules_per_output_token_at_least": each.joules_per_token,
    }
    return {name: value for name, value in found.items() if value is not None}


def choice_json(choice: EngineChoice) -> dict[str, Any]:
    best = choice.best
    return {
        "limits": choice.limits,
        "requests_per_s": choice.demand,
        "chosen": None if best is None else candidate_json(best),
        "compared": [candidate_json(each) for each in choice.candidates],
    }


def candidate_json(each: Candidate) -> dict[str, Any]:
    found: dict[str, Any] = {"device": each.plan.device, "tensor_parallel_size": each.plan.gpus}
    if each.bounds is None:
        return found | {"possible": False}
    return found | {
        "possible": True,
        "engines": each.engines,
        "gpus": each.gpus,
        "requests_in_flight_of_each_at_most": each.bounds.concurrency,
        "requests_per_s_at_most": each.requests_per_s,
        **costs_json(each),
    }
