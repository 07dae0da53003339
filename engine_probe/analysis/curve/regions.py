"""The regions of the curve of throughput over load in words: where each ends, and how certain that is."""

from __future__ import annotations

from collections.abc import Iterator

from engine_probe.analysis.curve.curve_fits import NEAR, Kind
from engine_probe.analysis.curve.saturation import Boundary, Saturation

LETTERS: dict[Kind, str] = {"spare": "A", "shared": "B", "plateau": "B+", "overload": "C"}
MEANINGS: dict[Kind, str] = {
    "spare": f"A, spare capacity: a request gets at least {NEAR:.0%} of the tokens/s that it gets alone",
    "shared": "B, shared capacity: it gets less, throughput still grows",
    "plateau": "B+, saturated: throughput no longer grows",
    "overload": "C, overload: throughput falls",
}
SURE = 0.9  # below it the words say so


def region_sentences(found: Saturation, unit: str) -> Iterator[str]:
    """Yield sentences about where spare capacity and growth end, what follows, and how certain that is.

    A fall is stated from repeats if they show it by themselves, else from the fitted lines.
    """
    if found.equilibrium:
        yield f"Equilibrium point: {where(found.equilibrium, unit)}. Spare capacity ends there."
    if found.saturation and found.fallen and found.best:
        loss = 1 - found.fallen.output_tokens_per_s / found.best.output_tokens_per_s
        sure = percent(found.saturation.sureness)
        yield (
            f"Saturation point: {where(found.saturation, unit)}, {sure} sure. At {found.fallen.load:g}, the highest "
            f"load measured, throughput is {loss:.0%} below its highest: more than repeats scatter (t-test, 5%)."
        )
    elif found.saturation:
        last = found.levels[-1].load
        after = "falls" if found.region(last) == "overload" else "stays level"
        weight = found.sureness(last)
        yield (
            f"Saturation point: {where(found.saturation, unit)}. Beyond it throughput {after} ({percent(weight)} "
            f"sure{'' if weight >= SURE else ': more repeats would tell'})."
        )


def where(end: Boundary, unit: str) -> str:
    """Return a boundary with the range that it lies in with 95 % confidence."""
    at, low, high = map(place, (end.load, end.low, end.high))
    return f"{at} {unit}" if low == high else f"{at} {unit} (between {low} and {high})"


def place(load: float) -> str:
    """Return a measured level as it is, and a load between two levels with two figures."""
    if load == int(load):
        return f"{load:g}"
    return f"about {load:.2g}" if load < 10 else f"about {load:.0f}"


def percent(share: float) -> str:
    """Return a certainty, which is never 100 %."""
    return "over 99%" if share >= 0.995 else f"{share:.0%}"


def letter(found: Saturation, load: float) -> str:
    """Return the region of a load and its certainty as a cell of a table."""
    kind = found.region(load)
    if kind is None:
        return "-"
    return f"{LETTERS[kind]} {min(99, round(100 * found.sureness(load)))}%"
