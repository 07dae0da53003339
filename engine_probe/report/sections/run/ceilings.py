"""The measured ceilings of a run's devices, from `run.json`: figure, source and age."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from engine_probe.analysis.step.ceilings import doubts_of, verdict_of
from engine_probe.report.document import Section, says, table
from kernels_bench.output.words import quantity

NOTE = (
    "From `engine_probe validate` on the same device: the newest trusted figure of each name, without one the "
    "highest. Figures that rest on a doubtful ceiling are as doubtful."
)
TITLES = ("device", "ceiling", "reached", "spread", "measured", "before this run", "length", "trust")


def ceilings_section(facts: dict[str, Any]) -> Section:
    """Return the table of ceilings. Empty if none were measured."""
    rows = tuple(ceiling_rows(facts))
    note = says([NOTE] if rows else [], "soft")
    tables = (table(TITLES, rows, words=(0, 1, 4, 5, 6, 7)),) if rows else ()
    return Section("Measured ceilings of the hardware", sentences=note, tables=tables, shown="page")


def ceiling_rows(facts: dict[str, Any]) -> Iterator[list[str]]:
    hardware = facts.get("hardware") or {}
    names = {gpu.get("uuid", ""): gpu.get("name", "") for gpu in hardware.get("gpus") or []}
    host = (hardware.get("host") or {}).get("name", "")
    for identity, ceilings in (hardware.get("ceilings") or {}).items():
        device = names.get(identity) or (host if identity.startswith("cpu-") else identity)
        for name, ceiling in sorted(ceilings.items()):
            length, doubts = "quick" if ceiling["quick"] else "full", "; ".join(doubts_of(ceiling))
            trust = f"{verdict_of(ceiling)}: {doubts}" if doubts else verdict_of(ceiling)
            spread = f"{ceiling['spread']:.1%}" if ceiling.get("spread") is not None else "-"
            reached = quantity(ceiling["value"], ceiling["unit"])
            measured = ceiling["measured"][:16].replace("T", " ")
            yield [device, name, reached, spread, measured, age(ceiling["measured"], facts), length, trust]


def age(measured: str, facts: dict[str, Any]) -> str:
    """Return how long before the run a ceiling was measured; it may seem later if the machine's clock was changed."""
    try:
        elapsed = datetime.fromisoformat(facts["clock"]["wall"]) - datetime.fromisoformat(measured)
    except (KeyError, TypeError, ValueError):
        return "-"
    hours = elapsed.total_seconds() / 3600
    if hours < 0:
        return "after it began"
    return f"{hours / 24:,.0f} days" if hours >= 48 else f"{hours:.0f} h" if hours >= 1 else "within the hour"
