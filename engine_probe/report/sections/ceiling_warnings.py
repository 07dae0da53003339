"""Warnings about measured ceilings: shares above 100 %, and limits that are based on doubtful ceilings."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.step.ceiling_use import ALL_STEPS, Use, above, uses
from engine_probe.analysis.step.roofline import Roofline
from engine_probe.report.sections.run.roofline import per_second, range_of


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
        yield "Whether compute or memory bandwidth limited the steps is therefore not concluded."


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
            f"{len(withheld)} of {len(found)} points: {withheld[0]}: the ceilings were measured too low. Compute and "
            "memory bandwidth are not distinguished there. Run `engine_probe validate` when nothing else runs."
        )


def sweep_doubts(found: Sequence[RunAnalysis]) -> Iterator[str]:
    """Yield why limits are marked as doubtful."""
    limits = [analysis.limits for analysis in found if analysis.limits.rests_on_ceilings and analysis.limits.doubtful]
    if limits:
        doubts = "; ".join(limits[0].doubts)
        yield f"The limits compute and memory bandwidth are doubtful, because the measured ceilings are: {doubts}."
