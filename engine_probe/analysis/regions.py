"""The regions of the curve of throughput over load, in words: where each ends, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator

from engine_probe.analysis.lines import Kind
from engine_probe.analysis.saturation import Boundary, Saturation

LETTERS: dict[Kind, str] = {"spare": "A", "shared": "B", "plateau": "B+", "overload": "C"}
MEANINGS: dict[Kind, str] = {
    "spare": "A, spare capacity: throughput grows in proportion",
    "shared": "B, shared capacity: it grows more slowly",
    "plateau": "B+, all capacity shared: it no longer grows",
    "overload": "C, overload: it falls",
}
SURE = 0.9  # below it the words say so


def region_sentences(found: Saturation, unit: str) -> Iterator[str]:
    """Where proportional growth ends, where growth ends, what follows, and how sure each is."""
    if found.equilibrium:
        yield f"Throughput grows in proportion up to {where(found.equilibrium)} {unit} (equilibrium point)."
    if found.saturation:
        last = found.levels[-1].load
        after = "falls" if found.region(last) == "overload" else "stays level"
        sure = found.sureness(last)
        yield (
            f"Growth ends at {where(found.saturation)} {unit} (saturation point), and throughput {after} behind it"
            f" ({percent(sure)} sure{'' if sure >= SURE else ': more repeats would tell'})."
        )


def where(end: Boundary) -> str:
    """The range is what the levels leave open with 95 %."""
    open_ = "" if f"{end.low:.3g}" == f"{end.high:.3g}" else f" (between {end.low:.3g} and {end.high:.3g})"
    return f"{end.load:.3g}{open_}"


def percent(share: float) -> str:
    """Never 100 %: nothing measured is that sure."""
    return "over 99%" if share >= 0.995 else f"{share:.0%}"


def letter(found: Saturation, load: float) -> str:
    """A cell of a table."""
    kind = found.region(load)
    if kind is None:
        return "-"
    return f"{LETTERS[kind]} {min(99, round(100 * found.sureness(load)))}%"
