"""The roofline of a run: a dot for each step under the measured ceilings, and the use of the hardware in sentences."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.step.ceiling_use import DECODE_ONLY, MIXED, PREFILL_ONLY, WITH_PREFILL, kinds
from engine_probe.analysis.step.ceilings import Ceiling
from engine_probe.analysis.step.roofline import Roofline, RooflineRange
from engine_probe.analysis.step.step_time import CLOCKS
from engine_probe.report.charts.model import Axis, Lines, Reals, Series, numbers, placed
from engine_probe.report.document import Figure, Section, says
from engine_probe.text_format import capitalized, percent

MOST_DOTS = 1500  # of each kind of steps
CEILING_POINTS = 40
MARGIN = 4.0  # factor by which the ceilings extend beyond the steps
SAME = 0.01  # relative gap below which two bounds are printed as one figure
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
MEASURE = "`engine_probe validate` measures them for later recordings"


def roofline_section(found: Roofline | str, counted: Iterable[str] = ()) -> Section:
    """Return the roofline chart and the shares of the ceilings in sentences, and what the GPUs counted themselves."""
    sentences = (*says(roofline_words(found)), *says(counted))
    return Section("Use of the hardware", sentences=sentences, charts=partial(roofline_chart, found))


def roofline_chart(found: Roofline | str) -> Iterator[Lines]:
    if isinstance(found, str) or not found.working.any():
        return
    flops, moved = ((work.least + work.most) / 2 for work in (found.flops, found.bytes))
    at = np.divide(flops, moved, out=np.zeros_like(flops), where=found.working)
    speed = np.divide(flops, found.seconds, out=np.zeros_like(flops), where=found.working)
    scale, prefix = prefixed(float(speed.max()))
    dots = {name: chosen_steps(steps & found.working, at, speed) for name, steps in kinds(found).items()}
    dots = {name: steps for name, steps in dots.items() if len(steps)}
    ceiling = ceiling_line(found, at[found.working])
    xs = np.unique(np.concatenate([at[steps] for steps in dots.values()] + [ceiling]))
    series = [
        Series(name, placed(xs, at[steps], speed[steps] / scale), 0, "dots", COLOURS[name])
        for name, steps in dots.items()
    ]
    if len(ceiling) and found.memory and found.compute:
        height = np.minimum(ceiling * found.memory.per_s, found.compute.per_s)
        series.append(Series("ceiling", placed(xs, ceiling, height / scale), 0, "line", 3))
        too_high = int((speed > np.minimum(at * found.memory.per_s, found.compute.per_s))[found.working].sum())
        above = f" {too_high:,} of {int(found.working.sum()):,} steps lie above them." if too_high else ""
        ceilings = f" Ceilings: {ceiling_text(found.memory)}; {ceiling_text(found.compute)}.{above}"
    else:
        ceilings = f" No ceiling is drawn: those of this device were not measured ({MEASURE})."
    count, total = sum(map(len, dots.values())), int(found.working.sum())
    drawn = "" if count == total else f" {count:,} of {total:,} steps are drawn, with the extremes."
    yield Lines(
        title="Roofline",
        note=f"A dot is a step: operations per byte that it must move, and operations per second "
        f"({found.clock} time).{drawn}{ceilings}",
        x=Axis("operations per byte", "FLOP/B", log=True),
        y=[Axis("operations", f"{prefix}FLOP/s", log=True)],
        xs=numbers(xs),
        series=series,
    )


COLOURS = {DECODE_ONLY: 0, PREFILL_ONLY: 1, MIXED: 4}


def chosen_steps(steps: npt.NDArray[np.bool_], at: Reals, speed: Reals) -> npt.NDArray[np.int64]:
    """Return all steps, or an even choice in time with the extremes of both axes."""
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
    low, high = min(float(at.min()), found.ridge) / MARGIN, max(float(at.max()), found.ridge) * MARGIN
    return np.union1d(np.geomspace(low, high, CEILING_POINTS), [found.ridge])


def prefixed(value: float) -> tuple[float, str]:
    return next(((size, letter) for size, letter in PREFIXES if value >= size), (1.0, ""))


def per_second(value: float, unit: str) -> str:
    scale, prefix = prefixed(value)
    return f"{value / scale:.3g} {prefix}{unit}/s"


def ceiling_text(ceiling: Ceiling) -> str:
    unit = "B" if ceiling.name.startswith("memory") else "OP" if "int8" in ceiling.name else "FLOP"
    several = f" on {ceiling.devices} devices" if ceiling.devices > 1 else ""
    remark = f", {ceiling.remark}" if ceiling.remark else ""
    return f"{per_second(ceiling.per_s, unit)} ({ceiling.name}{several}{remark})"


def roofline_words(found: Roofline | str) -> Iterator[str]:
    if isinstance(found, str):
        yield f"No roofline: {found}."
        return
    if not found.working.any():
        return
    decode = found.only(kinds(found)[DECODE_ONLY])
    prefill = found.only(~kinds(found)[DECODE_ONLY])
    yield rate_words("Bandwidth (MBU)", "weights and KV moved", "B", found.memory, found.bytes_per_s) + (
        aside(DECODE_ONLY, "B", found.memory, decode.bytes_per_s) if decode and prefill else ""
    )
    yield rate_words("Compute (MFU)", "matrix products ran", "FLOP", found.compute, found.flops_per_s) + (
        aside(WITH_PREFILL, "FLOP", found.compute, prefill.flops_per_s) if decode and prefill else ""
    )
    yield f"Both use {found.clock} time, {CLOCKS[found.clock]}."
    if found.ridge is None:
        yield f"No share of the ceilings is given: those of this device were not measured ({MEASURE})."


def roofline_figures(found: Roofline | str) -> Iterator[Figure]:
    """Yield the shares of the two ceilings, if they were measured."""
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


def rate_words(title: str, what: str, unit: str, ceiling: Ceiling | None, rate: RooflineRange) -> str:
    if ceiling is None:
        return f"{title}: {what} at {rates(rate, unit)}."
    used = f"{share_of(rate, ceiling)} of {ceiling_text(ceiling)}"
    return f"{title}: {used}. {capitalized(what)} at {rates(rate, unit)}."


def aside(steps: str, unit: str, ceiling: Ceiling | None, rate: RooflineRange) -> str:
    share = f" ({share_of(rate, ceiling)} of the ceiling)" if ceiling else ""
    return f" In {steps}: {rates(rate, unit)}{share}."


def share_of(rate: RooflineRange, ceiling: Ceiling) -> str:
    return range_of(RooflineRange(rate.least / ceiling.per_s, rate.most / ceiling.per_s))


def range_of(share: RooflineRange) -> str:
    return between(percent(share.least), percent(share.most))


def rates(rate: RooflineRange, unit: str) -> str:
    close = rate.most - rate.least <= SAME * rate.most
    return between(per_second(rate.least, unit), per_second(rate.least if close else rate.most, unit))


def between(least: str, most: str) -> str:
    """Return one figure if both bounds are printed the same."""
    return least if least == most else f"{least} to {most}"
