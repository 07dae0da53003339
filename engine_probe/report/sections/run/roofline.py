"""The roofline of a run: a dot for each step under the measured ceilings, and what it comes to in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.step.ceiling_use import kinds
from engine_probe.analysis.step.ceilings import Ceiling
from engine_probe.analysis.step.roofline import Range, Roofline
from engine_probe.analysis.step.step_time import CLOCKS
from engine_probe.report.charts.model import Axis, Lines, Series, numbers
from engine_probe.report.document import Figure, Section, says
from engine_probe.text_format import percent

Reals = npt.NDArray[np.float64]
MOST_DOTS = 1500  # of each kind of steps
CEILING_POINTS = 40
WIDE = 4.0  # how far the ceilings reach beyond the steps, as a factor
SAME = 0.01  # bounds closer than this are told as one figure
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
MEASURE = "`engine_probe validate` measures them for later recordings"


def roofline_section(found: Roofline | str) -> Section:
    """Return the chart, and what it comes to."""
    return Section("Use of the hardware", sentences=says(roofline_words(found)), charts=partial(roofline_chart, found))


def roofline_chart(found: Roofline | str) -> Iterator[Lines]:
    if isinstance(found, str) or not found.working.any():
        return
    flops, moved = ((work.least + work.most) / 2 for work in (found.flops, found.bytes))
    at = np.divide(flops, moved, out=np.zeros_like(flops), where=found.working)
    speed = np.divide(flops, found.seconds, out=np.zeros_like(flops), where=found.working)
    scale, prefix = prefixed(float(speed.max()))
    dots = {name: drawn(steps & found.working, at, speed) for name, steps in kinds(found).items()}
    dots = {name: steps for name, steps in dots.items() if len(steps)}
    ceiling = ceiling_line(found, at[found.working])
    xs = np.unique(np.concatenate([at[steps] for steps in dots.values()] + [ceiling]))
    series = [
        Series(f"steps of {name}", numbers(placed(xs, at[steps], speed[steps] / scale)), 0, "dots", COLOURS[name])
        for name, steps in dots.items()
    ]
    if len(ceiling) and found.memory and found.compute:
        height = np.minimum(ceiling * found.memory.per_s, found.compute.per_s)
        series.append(Series("ceiling", numbers(placed(xs, ceiling, height / scale)), 0, "line", 3))
        too_high = int((speed > np.minimum(at * found.memory.per_s, found.compute.per_s))[found.working].sum())
        over = f" {too_high:,} of {int(found.working.sum()):,} steps lie above them." if too_high else ""
        measured = f" Ceilings: {said(found.memory)}; {said(found.compute)}.{over}"
    else:
        measured = f" No ceiling is drawn: those of this device were not measured ({MEASURE})."
    count = sum(map(len, dots.values()))
    some = (
        "" if count == found.working.sum() else f" {count:,} of {int(found.working.sum()):,} steps, the extremes too."
    )
    yield Lines(
        title="Roofline",
        note=f"A dot is a step: operations for each byte it must move, and operations a second "
        f"({found.clock} time).{some}{measured}",
        x=Axis("operations per byte", "FLOP/B", log=True),
        y=[Axis("operations", f"{prefix}FLOP/s", log=True)],
        xs=numbers(xs),
        series=series,
    )


COLOURS = {"answers": 0, "prompts": 1, "both": 4}


def drawn(steps: npt.NDArray[np.bool_], at: Reals, speed: Reals) -> npt.NDArray[np.int64]:
    """All steps, or an even choice in time with the extremes of both axes."""
    places = np.flatnonzero(steps)
    if len(places) <= MOST_DOTS:
        return places
    few = MOST_DOTS // 20
    even = places[np.linspace(0, len(places) - 1, MOST_DOTS - 4 * few).astype(np.int64)]
    orders = [np.argpartition(values[places], (few, -few)) for values in (at, speed)]
    return np.unique(np.r_[even, *(places[np.r_[order[:few], order[-few:]]] for order in orders)])


def ceiling_line(found: Roofline, at: Reals) -> Reals:
    if found.ridge is None:
        return np.array([])
    low, high = min(float(at.min()), found.ridge) / WIDE, max(float(at.max()), found.ridge) * WIDE
    return np.union1d(np.geomspace(low, high, CEILING_POINTS), [found.ridge])


def placed(
    xs: npt.NDArray[np.float64], at: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """On the common x; of steps at the very same place the last."""
    found = np.full(len(xs), np.nan)
    found[np.searchsorted(xs, at)] = values
    return found


def prefixed(value: float) -> tuple[float, str]:
    return next(((size, letter) for size, letter in PREFIXES if value >= size), (1.0, ""))


def per_second(value: float, unit: str) -> str:
    scale, prefix = prefixed(value)
    return f"{value / scale:.3g} {prefix}{unit}/s"


def said(ceiling: Ceiling) -> str:
    unit = "B" if ceiling.name.startswith("memory") else "FLOP"
    several = f" on {ceiling.devices} devices" if ceiling.devices > 1 else ""
    remark = f", {ceiling.remark}" if ceiling.remark else ""
    return f"{per_second(ceiling.per_s, unit)} ({ceiling.name}{several}{remark})"


def roofline_words(found: Roofline | str) -> Iterator[str]:
    if isinstance(found, str):
        yield f"No roofline: {found}."
        return
    if not found.working.any():
        return
    answers = found.only(kinds(found)["answers"])
    prompts = found.only(~kinds(found)["answers"])
    yield rate_words("Bandwidth (MBU)", "weights and KV moved", "B", found.memory, found.bytes_per_s) + (
        aside("decode-only steps", "B", found.memory, answers.bytes_per_s) if answers and prompts else "."
    )
    yield rate_words("Compute (MFU)", "matrix products ran", "FLOP", found.compute, found.flops_per_s) + (
        aside("steps with prefill", "FLOP", found.compute, prompts.flops_per_s) if answers and prompts else "."
    )
    yield f"Both are based on {found.clock} time: {CLOCKS[found.clock]}."
    if found.ridge is None:
        yield f"No share of the ceilings is given: those of this device were not measured ({MEASURE})."


def roofline_figures(found: Roofline | str) -> Iterator[Figure]:
    """The two shares, where the ceilings are known."""
    if isinstance(found, str) or not found.working.any():
        return
    for title, rate, ceiling in (
        ("of the bandwidth ceiling (MBU)", found.bytes_per_s, found.memory),
        ("of the compute ceiling (MFU)", found.flops_per_s, found.compute),
    ):
        if ceiling:
            doubt = {"trusted": "", "doubtful": ", doubtful", "not known": ", trust not known"}[ceiling.verdict]
            impossible = ", impossible" * (rate.least > ceiling.per_s)
            yield Figure(f"{title}{impossible or doubt}", share_of(rate, ceiling))


def rate_words(title: str, what: str, unit: str, ceiling: Ceiling | None, rate: Range) -> str:
    if ceiling is None:
        return f"{title}: {what} at {rates(rate, unit)}"
    return f"{title}: {share_of(rate, ceiling)} of {said(ceiling)}; {what} at {rates(rate, unit)}"


def aside(steps: str, unit: str, ceiling: Ceiling | None, rate: Range) -> str:
    share = f", {share_of(rate, ceiling)}" if ceiling else ""
    return f", in {steps} at {rates(rate, unit)}{share}."


def share_of(rate: Range, ceiling: Ceiling) -> str:
    return range_of(Range(rate.least / ceiling.per_s, rate.most / ceiling.per_s))


def range_of(share: Range) -> str:
    return between(percent(share.least), percent(share.most))


def rates(rate: Range, unit: str) -> str:
    close = rate.most - rate.least <= SAME * rate.most
    return between(per_second(rate.least, unit), per_second(rate.least if close else rate.most, unit))


def between(least: str, most: str) -> str:
    """One figure where the bounds do not differ in print."""
    return least if least == most else f"{least} to {most}"
