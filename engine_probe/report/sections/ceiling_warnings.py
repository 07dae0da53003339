"""What speaks against the measured ceilings of a run or a sweep: shares above 100 %, and limits that rest on doubts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.step.ceiling_use import ALL_STEPS, Use, above, uses
from engine_probe.analysis.step.ceilings import Ceiling
from engine_probe.analysis.step.roofline import Roofline
from engine_probe.report.sections.run.roofline import per_second, range_of


def ceiling_warnings(found: Roofline | str) -> Iterator[str]:
    """Say which shares are more than the hardware can do, and why; these are to be shown in red."""
    if isinstance(found, str):
        return
    for name in ("MBU", "MFU"):
        shares = [use for use in uses(found) if use.name == name and use.may_be_above]
        if not shares:
            continue
        yield warning(max(shares, key=lambda use: (use.is_above, use.share.most)))
    if above(found) and found.ridge is not None:
        yield "What held the steps up, compute or memory bandwidth, is therefore not concluded."


def warning(use: Use) -> str:
    """Explain one share above 100 %; where only its upper bound is above, nothing speaks against the ceiling yet."""
    steps = "" if use.steps == ALL_STEPS else f" in {use.steps}"
    measured = f"the {said_short(use.ceiling)} that `engine_probe validate` measured"
    told = f"{use.name} {range_of(use.share)}{steps}, of {measured}"
    cached = "what stays in a cache is not read from memory again" if use.name == "MBU" else ""
    if not use.is_above:
        return f"{told}: not more than the lower of the two can be concluded{f'; {cached}' if cached else ''}."
    because = "; ".join(use.ceiling.doubts) or "other programs may have used the machine"
    return (
        f"{told}, which is impossible: the ceiling was measured too low ({because})"
        f"{f', or {cached}' if cached else ''}. Run `engine_probe validate` when nothing else runs, and record again."
    )


def sweep_warnings(found: Sequence[RunAnalysis]) -> Iterator[str]:
    """Say of the points of a sweep whose ceilings are contradicted, and by what; to be shown in red."""
    withheld = [each.limits.withheld for each in found if each.limits.withheld]
    if withheld:
        yield (
            f"{len(withheld)} of {len(found)} points: {withheld[0]}: the ceilings were measured too low. Compute and "
            "memory bandwidth are not told apart there. Run `engine_probe validate` when nothing else runs."
        )


def sweep_doubts(found: Sequence[RunAnalysis]) -> Iterator[str]:
    """Say why limits are marked as doubtful."""
    marked = [each.limits for each in found if each.limits.rests_on_ceilings and each.limits.doubtful]
    if marked:
        doubts = "; ".join(marked[0].doubts)
        yield f"The limits compute and memory bandwidth are doubtful, as are the ceilings that they rest on: {doubts}."


def said_short(ceiling: Ceiling) -> str:
    return per_second(ceiling.per_s, "B" if ceiling.name.startswith("memory") else "FLOP")
