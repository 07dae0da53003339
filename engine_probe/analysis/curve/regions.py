"""The regions of the curve of throughput over load in words: where each ends, and how certain that is."""

import math

from engine_probe.analysis.curve.growth import DOUBT, NEAR, SMALL, Boundary, Kind
from engine_probe.analysis.curve.saturation import SURE, Saturation
from engine_probe.text_format import capitalized

LETTERS: dict[Kind, str] = {"spare": "A", "unclear": "?", "shared": "B", "plateau": "B+", "overload": "C"}
MEANINGS: dict[Kind, str] = {
    "spare": f"A, spare capacity: a request gets at least {NEAR:.0%} of the tokens/s that it gets alone",
    "unclear": "?, not told: a load of one, which was not measured, would tell",
    "shared": f"B, shared capacity: it gets less, over {SMALL:.0%} is left to gain",
    "plateau": f"B+, saturated: throughput stays within {SMALL:.0%}",
    "overload": f"C, overload: over {SMALL:.0%} below the highest",
}


def ends_sentence(found: Saturation, unit: str) -> str:
    """Say where growth and spare capacity end, and how certain that is. Empty if neither is known."""
    saturation = f"saturation point: {where(found.saturation, unit)}" if found.saturation and found.growth else ""
    own = "" if saturation else unit
    equilibrium = (
        f"equilibrium{'' if saturation else ' point'}: {where(found.equilibrium, own)}" if found.equilibrium else ""
    )
    words = "; ".join(filter(None, (saturation, equilibrium)))
    return f"{capitalized(words)}." if words else ""


def beyond_sentence(found: Saturation) -> str:
    """Say what throughput does beyond the saturation point. Empty if that is not known."""
    if not (found.saturation and found.growth):
        return ""
    falls, stays = found.growth.falls, found.growth.stays
    after, weight = "falls" if falls > stays else f"stays level within {SMALL:.0%}", max(falls, stays)
    sure = f"{percent(weight)} sure{'' if weight >= SURE else ': more repeats would tell'}"
    return f"Beyond the saturation point throughput {after} ({sure})."


def where(end: Boundary, unit: str = "") -> str:
    """Return a boundary with the range that it lies in, and how certain that is, unless 95 %."""
    at, low, high = map(place, (end.load, end.low, end.high))
    about = "" if end.load == int(end.load) else "about "
    around = f"above {low}" if math.isinf(end.high) else f"{low} to {high}" if end.low else f"up to {high}"
    sure = "" if end.sureness == 1 - DOUBT else f", {percent(end.sureness)} sure"
    return f"{' '.join(filter(None, (f'{about}{at}', unit)))} ({around}{sure})"


def place(load: float) -> str:
    """Return a measured level as it is, and a load between two levels with two figures."""
    if math.isinf(load) or load == int(load):
        return f"{load:g}"
    return f"{load:.2g}" if load < 10 else f"{load:.0f}"


def percent(share: float) -> str:
    """Return a certainty, which is never 100 %."""
    return "over 99%" if share >= 0.995 else f"{share:.0%}"


def letter(found: Saturation, load: float) -> str:
    """Return the region of a load and its certainty as a cell of a table."""
    kind, sure = found.region(load), found.sureness(load)
    if kind is None:
        return "-"
    return f"{LETTERS[kind]} {min(99, round(100 * sure))}%" if sure else LETTERS[kind]
