"""The measured ceilings of a run's devices, and warnings: shares above 100 %, limits that rest on doubtful ceilings."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.step.ceiling_use import ALL_STEPS, Use, above, uses
from engine_probe.analysis.step.ceilings import doubts_of, verdict_of
from engine_probe.analysis.step.roofline import Roofline
from engine_probe.report.document import Section, says, table
from engine_probe.report.sections.run.roofline import per_second, range_of
from kernels_bench.output.quantities import quantity

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


def ceiling_warnings(found: Roofline | str) -> Iterator[str]:
    """Yield which shares are more than the hardware can do, and why. They are shown in red."""
    if isinstance(found, str):
        return
    for name in ("MBU", "MFU"):
        shares = [use for use in uses(found) if use.name == name and use.may_be_above]
        if not shares:
            continue
        yield warning(max(shares, key=lambda use: (use.is_above, use.share.most)))
    if above(found) and found.ridge is not None:
        yield "It is therefore not known whether compute or memory bandwidth limited the steps."


def warning(use: Use) -> str:
    """Explain a share above 100 %. If only its upper bound is above, the ceiling may still be right."""
    steps = "" if use.steps == ALL_STEPS else f" in {use.steps}"
    ceiling = per_second(use.ceiling.per_s, "B" if use.ceiling.name.startswith("memory") else "FLOP")
    share = f"{use.name} {range_of(use.share)}{steps}, of the {ceiling} that `engine_probe validate` measured"
    cached = "data in a cache is not read from memory again" if use.name == "MBU" else ""
    if not use.is_above:
        return f"{share}: only the lower of the two is certain{f'; {cached}' if cached else ''}."
    because = "; ".join(use.ceiling.doubts) or "other programs may have used the machine"
    return (
        f"{share}, which is impossible: the ceiling was measured too low ({because})"
        f"{f', or {cached}' if cached else ''}. Run `engine_probe validate` when nothing else runs, and record again."
    )


def sweep_warnings(found: Sequence[RunAnalysis]) -> Iterator[str]:
    """Yield how many points of a sweep contradict their ceilings, and how. It is shown in red."""
    withheld = [analysis.limits.withheld for analysis in found if analysis.limits.withheld]
    if withheld:
        yield (
            f"{len(withheld)} of {len(found)} points: {withheld[0]}, and compute cannot be told from memory bandwidth. "
            "Run `engine_probe validate` when nothing else runs."
        )


def sweep_doubts(found: Sequence[RunAnalysis]) -> Iterator[str]:
    """Yield why limits are marked as doubtful."""
    limits = [analysis.limits for analysis in found if analysis.limits.rests_on_ceilings and analysis.limits.doubtful]
    if limits:
        doubts = "; ".join(limits[0].doubts)
        yield f"The limits compute and memory bandwidth are doubtful, because the measured ceilings are: {doubts}."
