"""Throughput per GPU against speed for each user: who is best at which interactivity, the chart and every level."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from engine_probe.analysis.pareto import Frontier, PlacedLevel, ServingCurve, ServingLevel, Stretch, frontier
from engine_probe.analysis.statistics.repeats import Repeated, rate_and_reach
from engine_probe.evaluation.pareto import SameWork
from engine_probe.report.charts.model import Axis, Lines, Series, of_levels
from engine_probe.report.document import Cell, Column, Section, Sentence, Table, Tone, sure, table
from engine_probe.report.sections.sweep.levels import short_load
from engine_probe.text_format import rate_words
from engine_probe.workload.load import level_words, levels_words

TITLE = "Throughput per {} against speed for each user"
FEWEST_LEVELS, MOST_STRETCHES = 2, 4
TONES: dict[str, Tone] = {"frontier": "good", "not told apart": "plain", "dominated": "caution"}
METHOD = (
    "Tokens/s per user are 1 / TPOT of the median request (the interactivity of InferenceX; MLPerf Endpoints takes "
    "the p90 of TPOT). Tokens/s per GPU are the output tokens/s over the GPUs of all ranks (tensor, pipeline and data "
    "parallel, and replicas); without GPUs they are per rank. A level is dominated if another is better in both by "
    "more than the 95% intervals of repeats; a lower one whose interval overlaps is not told apart from the frontier."
)
NOTE = (
    "Per user: 1 / TPOT of the median request. Per {device}: output tokens/s over all {device}s. The frontier is the "
    "highest throughput of the levels that give a user at least so much; nothing is interpolated."
)
FRONTIER_COLOUR = 5


def pareto_section(works: Sequence[SameWork]) -> Section:
    """Return the frontier of each model and workload with several levels; nothing if there is none."""
    parts = [(work, found) for work in works if len((found := frontier(work.curves)).placed) >= FEWEST_LEVELS]
    if not parts:
        return Section()
    title = TITLE.format(parts[0][1].device)
    sections = tuple(one_section(*part) for part in parts)
    return Section(title, parts=sections) if len(sections) > 1 else replace(sections[0], title=title)


def pareto_verdict(works: Sequence[SameWork]) -> tuple[Sentence, ...]:
    """Say of several settings which is best at which speed for each user; nothing of a single one."""
    several = [work for work in works if len(work.curves) > 1]
    return tuple(Sentence(best_words(frontier(work.curves)), label=work.name) for work in several)


def one_section(work: SameWork, found: Frontier) -> Section:
    several = len(work.curves) > 1
    return Section(
        work.name,
        sentences=(Sentence(best_words(found)), *below_words(found)),
        charts=lambda: iter([pareto_chart(found)]),
        tables=(level_table(found, several),),
        details=sure(METHOD),
    )


def best_words(found: Frontier) -> str:
    """Say which setting gives the most tokens/s per GPU at which speed for each user."""
    first, *further = found.stretches
    if len(further) >= MOST_STRETCHES:
        return (
            f"No setting gives the most tokens/s per {found.device} over a wide range: it changes {len(further)} times."
        )
    most = f"Most tokens/s per {found.device}: "
    if further:
        parts = (f"{named(each)} {span(each)} ({ends_words(each)})" for each in (first, *further))
        return f"{most}{'; '.join(parts)}."
    best = f"{most}{named(first)} at every speed measured, " if first.name else "Tokens/s "
    slow, fast = first.levels[0], first.levels[-1]
    ends = [both_rates(each, found.device) for each in (slow, fast)]
    return f"{best}{ends[0] if slow is fast else f'from {ends[0]} to {ends[1]}'}."


def named(stretch: Stretch) -> str:
    """Name the curve that is best, or those that are not told apart."""
    if not stretch.rivals:
        return stretch.name
    return f"{' or '.join((stretch.name, *stretch.rivals))} (not told apart)"


def span(stretch: Stretch) -> str:
    to = rate_words(stretch.to)
    return f"from there to {to}" if stretch.after else f"up to {to} tokens/s per user"


def ends_words(stretch: Stretch) -> str:
    """Name the highest throughput of a stretch, and that at its highest speed for each user."""
    slow, fast = stretch.levels[0], stretch.levels[-1]
    first = f"{rate_words(slow.level.per_gpu.mean)} at {level_words(slow.level.load, slow.curve.unit)}"
    return first if slow is fast else f"{first}, down to {rate_words(fast.level.per_gpu.mean)} at {fast.level.load:g}"


def both_rates(placed: PlacedLevel, device: str) -> str:
    level = placed.level
    rates = f"{rate_words(level.per_gpu.mean)} per {device} and {rate_words(level.per_user.mean)} per user"
    return f"{rates} at {level_words(level.load, placed.curve.unit)}"


def below_words(found: Frontier) -> Iterator[Sentence]:
    """Name the levels that another one beats in both, and what single runs leave open."""
    below: dict[ServingCurve, list[float]] = {}
    for placed in found.dominated:
        below.setdefault(placed.curve, []).append(placed.level.load)
    if below:
        names = "; ".join(
            f"{levels_words(loads, curve.unit)}{f' of {curve.name}' if curve.name else ''}"
            for curve, loads in below.items()
        )
        yield Sentence(f"Dominated, as another level gives more per {found.device} and per user: {names}.")
    if not found.has_intervals:
        yield Sentence("Without repeats in rounds the levels have no intervals: chance may order them otherwise.")


def level_table(found: Frontier, several: bool) -> Table:
    load = Column(found.placed[0].curve.unit, short=short_load(found.placed[0].curve.unit))
    columns = (
        *[Column("setting", words=True)] * several,
        load,
        Column("tokens/s\nper user"),
        Column(f"tokens/s per {found.device}", short=f"tokens/s\nper {found.device}"),
        Column(f"{found.device}s"),
        Column("on the frontier", words=True),
    )
    rows = ([*[placed.curve.name or "-"] * several, *cells(placed)] for placed in found.placed)
    return table(columns, rows)


def cells(placed: PlacedLevel) -> Iterator[Cell | str]:
    level = placed.level
    yield f"{level.load:g}"
    yield rate_cell(level.per_user)
    yield rate_cell(level.per_gpu)
    yield f"{level.gpus}"
    yield Cell(status_words(placed), TONES[placed.status])


def rate_cell(found: Repeated) -> str:
    """Return a rate with its interval, as its ends where it reaches further than the rate is large.

    A rate with a time that may be zero has no upper end.
    """
    if found.low is None or found.high is None:
        return rate_words(found.mean)
    if math.isinf(found.high):
        return f"{rate_words(found.mean)} (at least {rate_words(found.low)})"
    if found.high > 2 * found.mean:
        return f"{rate_words(found.mean)} ({rate_words(max(found.low, 0.0))} to {rate_words(found.high)})"
    return rate_and_reach(found)


def status_words(placed: PlacedLevel) -> str:
    """Return whether a level is on the frontier, and which one beats it."""
    if placed.status != "dominated" or placed.better is None:
        return {"frontier": "yes"}.get(placed.status, placed.status)
    return f"no: {better_words(placed, placed.better)} gives more of both"


def better_words(placed: PlacedLevel, better: ServingLevel) -> str:
    same = placed.better_curve == placed.curve.name
    return f"{better.load:g}" if same else f"{placed.better_curve} at {better.load:g}"


def pareto_chart(found: Frontier) -> Lines:
    curves = list(dict.fromkeys(placed.curve for placed in found.placed))
    xs = sorted({level.per_user.mean for curve in curves for level in curve.levels})
    best = [(placed.level.per_user.mean, placed.level.per_gpu.mean) for placed in found.levels]
    series = [
        *(curve_series(xs, curve, number) for number, curve in enumerate(curves)),
        Series("frontier", of_levels(xs, best), style="until", colour=FRONTIER_COLOUR),
    ]
    return Lines(
        title=f"Tokens/s per {found.device} against tokens/s per user",
        note=NOTE.format(device=found.device),
        x=Axis("per user", "tokens/s"),
        y=[Axis(f"per {found.device}", "tokens/s")],
        xs=of_levels(xs, ((x, x) for x in xs)),
        series=series,
    )


def curve_series(xs: Sequence[float], curve: ServingCurve, number: int) -> Series:
    """Return the levels of a curve, each with the load that the mouse shows."""
    by_user = {level.per_user.mean: level for level in curve.levels}
    ends = {user: level for user, level in by_user.items() if level.per_gpu.low is not None}
    return Series(
        curve.name or "levels",
        of_levels(xs, ((user, level.per_gpu.mean) for user, level in by_user.items())),
        style="both",
        colour=number,
        low=of_levels(xs, ((user, max(level.per_gpu.low or 0.0, 0.0)) for user, level in ends.items())) if ends else [],
        high=of_levels(xs, ((user, level.per_gpu.high) for user, level in ends.items())) if ends else [],
        names=[level_words(by_user[x].load, curve.unit) if x in by_user else "" for x in xs],
    )
