"""Latency limits over the levels of a sweep: the highest load that meets them, and which levels to measure next."""

import json
import math
import shlex
from collections.abc import Iterator, Sequence

from engine_probe.analysis.curve.next_levels import Offer, sharpen_saturation, sharpen_slo
from engine_probe.analysis.curve.slo_capacity import MostLoad, most_load
from engine_probe.analysis.run.slo import WHOLE, Slo
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept
from engine_probe.report.document import ASKED, EXTRA, Sentence
from engine_probe.text_format import capitalized
from engine_probe.workload.load import CONCURRENCY, RATE, USERS, level_words

AXES = {CONCURRENCY: "workload.concurrency", USERS: "workload.arrivals.users", RATE: "workload.arrivals.request_rate"}


def slo_verdicts(curve: Curve) -> Iterator[Sentence]:
    """Yield the highest load that meets the limits, which somebody asked for."""
    if curve.slo is not None:
        yield from (Sentence(words, rank=ASKED) for words in slo_words(curve, curve.slo))


def slo_words(curve: Curve, slo: Slo) -> Iterator[str]:
    found = most_load(curve.figures)
    if found is None:
        yield f"No request can be judged against {slo.words}."
        return
    met = met_words(slo)
    if found.most is None:
        yield none_verdict(found, slo, curve.unit, met)
    else:
        yield most_verdict(found, curve.unit, met)
        if found.least is not None:
            yield f"Below {found.least:g} {curve.unit} {slo.whole_words} is missed: a higher load is cheaper."


def met_words(slo: Slo) -> str:
    """Return the SLO as what is the case: `90% of the requests meet TTFT <= 200 ms`."""
    share = f"{slo.percentile:g}% of the requests meet {slo.request_words}" if slo.request_words else ""
    return " and ".join(filter(None, (share, slo.whole_words)))


def none_verdict(found: MostLoad, slo: Slo, unit: str, met: str) -> str:
    """Return that no load meets the SLO, with how far the best one is from it."""
    near = min(found.levels, key=lambda level: math.inf if level.strain is None else level.strain)
    shown = near if slo.whole_limits else found.levels[0]
    share = [f"{shown.share:.1%} meet it"] if slo.request_words else []
    means = [f"{WHOLE[name]} is {value:,.3g}" for name, value in shown.whole]
    return f"At no load measured do {met}: at {level_words(shown.load, unit)}, {' and '.join([*share, *means])}."


def slo_doubts(curve: Curve) -> Iterator[str]:
    """Yield how far chance and the shape of the curve leave the highest load open."""
    found = most_load(curve.figures)
    if found is None:
        return
    if found.most is not None and (found.sure, found.sure_beyond) != (found.most, found.beyond):
        low = [f"from {found.sure:g} on"] if found.sure is not None else []
        high = [f"below {found.sure_beyond:g}"] if found.sure_beyond is not None else []
        ends = " ".join(["any level", " and ".join([*low, *high])]).rstrip()
        yield (
            f"Too few requests, or repeats disagree: the highest load may be {ends} (95% Wilson "
            "intervals, requests taken as independent). Measure more requests per level, or more repeats."
        )
    yield from (f"{capitalized(note)}." for note in found.notes)


def most_verdict(found: MostLoad, unit: str, met: str) -> str:
    assert found.best is not None
    rate = found.best.goodput
    good = f" (goodput {rate.mean:,.3g} requests/s)" if rate else ""
    if found.beyond is None:
        end = "It is the highest load measured."
    else:
        between = f"; a power law between them puts the limit at {found.crossing:,.3g}" if found.crossing else ""
        end = f"Missed at {found.beyond:g}{between}."
    return f"Highest load at which {met}: {level_words(found.best.load, unit)}{good}. {end}"


def offers(curves: Sequence[Curve]) -> Iterator[Sentence]:
    """Yield which levels to measure next, curve by curve."""
    for curve in curves:
        yield from (Sentence(sentence(offer, curve), rank=EXTRA) for offer in curve_offers(curve))


def curve_offers(curve: Curve) -> list[Offer]:
    if not curve.worth_words:
        return []
    limit = most_load(curve.figures)
    found = (sharpen_saturation(curve.found), sharpen_slo(limit) if limit else None)
    return [offer for offer in found if offer is not None]


def commands(swept: Swept, curves: Sequence[Curve]) -> Iterator[Sentence]:
    """Yield one command for each unit of load that measures all levels offered."""
    wanted: dict[str, set[float]] = {}
    for curve in curves:
        for offer in curve_offers(curve):
            wanted.setdefault(curve.unit, set()).update(offer.levels)
    for unit, levels in wanted.items():
        if command := command_for(swept, unit, levels):
            yield Sentence(f"To add these levels (the others are kept): {command}", command=True)


def sentence(offer: Offer, curve: Curve) -> str:
    place = f" ({curve.label})" if curve.label else ""
    levels = ", ".join(f"{level:g}" for level in offer.levels)
    if offer.high is None:
        return f"To find {offer.about}{place}, which is above {level_words(offer.low, curve.unit)}: measure {levels}."
    span = f"between {offer.low:g} and {offer.high:g} {curve.unit}"
    return f"To narrow down {offer.about}{place} ({span}): measure {levels}."


def command_for(swept: Swept, unit: str, levels: set[float]) -> str | None:
    """Return a command that resumes the sweep with further levels. None if no axis of the sweep can be extended."""
    axis = AXES.get(unit)
    if axis is None:
        return None
    resume = f"engine_probe sweep --resume {shlex.quote(swept.uri or str(swept.folder))} --set"
    search = swept.asked.get("adaptive")
    if isinstance(search, dict):
        resolution = search.get("resolution")
        if search.get("axis") != axis or not isinstance(resolution, int | float):
            return None
        return f"{resume} adaptive.resolution={resolution / 2:g}"
    if axis not in (swept.asked.get("axes") or {}):
        return None
    loads = sorted(levels | {point.load for point in swept.points if point.unit == unit})
    values = json.dumps([int(load) if load == int(load) else load for load in loads], separators=(",", ":"))
    return f"{resume} {shlex.quote(f'{axis}={values}')}"
