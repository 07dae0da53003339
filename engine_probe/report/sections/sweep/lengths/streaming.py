"""What streaming changes for a user: the first token to read, against the whole answer."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.statistics.level_noise import in_rounds, over_levels
from engine_probe.analysis.statistics.repeats import Repeated, reach_words
from engine_probe.recordings.curve import Curve
from engine_probe.report.document import Cell, Column, Section, Sentence, sure, table
from engine_probe.text_format import duration
from engine_probe.workload.load import level_words

STREAM = "stream"
FIRST = Column("first token in the engine (TTFT)", short="first token\n(TTFT)")
TITLES = ("load", "streaming", FIRST, "whole answer\n(E2EL)", "the user\nreads after")
METHOD = (
    "Medians over the requests of a point, the mean over its repeats and its 95% interval. With streaming a user "
    "reads from the first token on; without it nothing before the answer is whole. The times are the engine's: what a "
    "server and a network add is not in them."
)


@dataclass(frozen=True)
class Perceived:
    """One load of one setting, with streaming or without: when the first token and the whole answer are there."""

    setting: str
    load: str
    streams: bool
    first: Repeated
    whole: Repeated

    @property
    def read_after(self) -> Repeated:
        return self.first if self.streams else self.whole


def streaming_section(curves: Sequence[Curve]) -> Section:
    """Compare answers with and without streaming; nothing unless a sweep measured both."""
    pairs = list(compared(curves))
    if not pairs:
        return Section()
    rows = [row(one) for pair in pairs for one in pair]
    sentences = tuple(sentence(*pair) for pair in pairs)
    tables = (table(TITLES, rows, words=(0, 1)),)
    return Section("What streaming changes", sentences=sentences, tables=tables, details=sure(METHOD), shown="always")


def compared(curves: Sequence[Curve]) -> Iterator[tuple[Perceived, Perceived]]:
    """Yield each load that was measured both ways: without streaming, then with it."""
    found: dict[str, dict[bool, list[PointFigures]]] = {}
    names: dict[str, tuple[str, str]] = {}
    for curve in curves:
        streams = curve.settings.get(STREAM)
        others = {name: value for name, value in curve.settings.items() if name != STREAM}
        for point in curve.figures if isinstance(streams, bool) else ():
            key = json.dumps([others, curve.unit, point.load])
            names[key] = curve_name(others), level_words(point.load, curve.unit)
            found.setdefault(key, {}).setdefault(bool(streams), []).append(point)
    for key, both in found.items():
        ways = [both.get(streams, []) for streams in (False, True)]
        firsts, wholes = (medians(ways, name) for name in ("TTFT", "E2EL"))
        off, on = (
            Perceived(*names[key], streams, first, whole) if first and whole else None
            for streams, first, whole in zip((False, True), firsts, wholes, strict=True)
        )
        if off is not None and on is not None:
            yield off, on


def medians(ways: Sequence[Sequence[PointFigures]], name: str) -> list[Repeated | None]:
    """Return the mean of a median latency over the repeats of each way, which were measured in turns or have none."""
    in_turns = in_rounds((float(way), point.started_ns) for way, points in enumerate(ways) for point in points)
    values = [[point.percentile_ns(name, 50) for point in points] for points in ways]
    return over_levels(list(enumerate(values)), in_turns)


def sentence(without: Perceived, streamed: Perceived) -> Sentence:
    sooner = without.whole.mean / streamed.first.mean
    words = (
        f"With streaming a user reads after {duration(streamed.first.mean)} instead of {duration(without.whole.mean)}, "
        f"{sooner:,.3g} times sooner, at {without.load}. {same_work(without.whole, streamed.whole)}"
    )
    return Sentence(words, label=without.setting)


def same_work(without: Repeated, streamed: Repeated) -> str:
    """Say whether the whole answer takes another time with streaming."""
    if without.reach is None or streamed.reach is None:
        doubt = "one run each does not rule out chance"
    elif abs(streamed.mean - without.mean) > without.reach + streamed.reach:
        doubt = "beyond both intervals"
    else:
        doubt = "the intervals overlap, so no difference is shown"
    change = f"{streamed.mean / without.mean - 1:+.1%}"
    return f"The whole answer takes {duration(streamed.mean)} with it ({change}; {doubt})."


def row(one: Perceived) -> tuple[Cell | str, ...]:
    place = f"{one.load}, {one.setting}" if one.setting else one.load
    times = [cell(each) for each in (one.first, one.whole, one.read_after)]
    return (place, "on" if one.streams else "off", *times)


def cell(each: Repeated) -> str:
    return f"{duration(each.mean)}{reach_words(each)}"
