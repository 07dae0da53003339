"""The effect of raising a limit, where a sweep measured it: the one place that says what would help."""

from collections.abc import Sequence

from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.curve.raised_limits import ChangedThroughput, MeasuredCurve, Raised, raised_limits
from engine_probe.recordings.curve import Curve
from engine_probe.report.document import Cell, Section, Tone, sure, table
from engine_probe.workload.load import level_words

TITLES = ("setting raised", "from", "to", "at", "time waited at\nthe lower value", "output\ntokens/s")
METHOD = (
    "Each row is at the load at which requests waited longest for the setting, in % of the busy time at its lower "
    "value. Intervals are Welch's over repeats, with 95%; they do not include what changes from sweep to sweep."
)


def raised_section(curves: Sequence[Curve]) -> Section:
    """Return the measured effect of each setting that requests waited for; nothing if none was varied."""
    found = list(raised_limits([MeasuredCurve(curve.settings, curve.unit, curve.figures) for curve in curves]))
    if not found:
        return Section()
    tables = (table(TITLES, map(row, found), words=(0, 3)),)
    return Section("Effect of raising a limit", tables=tables, details=sure(METHOD), shown="always")


def row(each: Raised) -> tuple[Cell | str, ...]:
    others = curve_name(each.others)
    where = f"{level_words(each.load, each.unit)}{f', {others}' if others else ''}"
    return each.setting, f"{each.low:g}", f"{each.high:g}", where, f"{each.waited:.0%}", change(each)


def change(each: ChangedThroughput) -> Cell:
    if each.interval is None:
        return Cell(f"{each.relative:+.0%}", below="without repeats")
    low, high = each.interval
    tone: Tone = "good" if low > 0 else "problem" if high < 0 else "soft"
    return Cell(f"{each.relative:+.0%}", tone, f"({low:+.0%} to {high:+.0%})")
