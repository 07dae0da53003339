"""What a comparison between occasions concludes: several simulated sweeps of each side, each on an occasion of its own.

The noise of a sweep, shared or not, is that of `comparisons.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from engine_probe.analysis.compare.changes import changes_between
from engine_probe.analysis.compare.occasions import together_between
from engine_probe.analysis.statistics.rank_tests import corrected
from tools.calibration import comparisons
from tools.calibration.claims import MORE_SWEEPS, Claim
from tools.calibration.comparisons import COUNT, EFFECT, POWER_NOISE, Compared, broken, draw_side, told
from tools.calibration.simulated.noise import KINDS
from tools.calibration.simulated.shapes import between

SWEEPS = 3  # of each side
PLANNED = "-5 % at 2 % noise, as many sweeps a side as the claim says"


def draw_occasions(
    rng: np.random.Generator, kind: str, effect: float, deviation: float, repeats: int, sweeps: int = SWEEPS
) -> Compared:
    """Draw several sweeps of each side over the same loads and compare them."""
    rates = np.sort(rng.uniform(10, 1000, int(rng.integers(5, 16))))
    sides = [
        [draw_side(rng, kind, rates * ratio, deviation, repeats) for _ in range(sweeps)] for ratio in (1.0, 1 + effect)
    ]
    before, after = (list(zip(*side, strict=True)) for side in sides)  # by point, then by sweep
    found = [changes_between(old, new) for old, new in zip(before, after, strict=True)]
    judged = iter(corrected([change for point in found for change in point]))
    points = [[next(judged) for _ in point] for point in found]
    return Compared(points, together_between(points), effect)


def occasions(rng: np.random.Generator, index: int) -> tuple[str, list[Claim]]:
    """Simulate a comparison between occasions: in turns A/A, A/B by 5 %, and the one whose power is shown."""
    kind, turn = list(KINDS)[index % len(KINDS)], index // len(KINDS) % 3
    if turn == 2:
        three, *others = (
            draw_occasions(rng, "shared by the occasion", EFFECT, POWER_NOISE, 3, sweeps)
            for sweeps in (SWEEPS, *MORE_SWEEPS)
        )
        more = (whole_claims(other, sweeps) for other, sweeps in zip(others, MORE_SWEEPS, strict=True))
        return PLANNED, [*power_claims(three), *chain(*more)]
    deviation, repeats = between(rng, 0.01, 0.10), int(rng.integers(1, 4))
    compared = draw_occasions(rng, kind, EFFECT if turn else 0.0, deviation, repeats)
    claims = alarm_claims(compared) if not turn else bound_claims(compared)
    return kind, [*claims, *interval_claims(compared)]


def alarm_claims(compared: Compared) -> Iterator[Claim]:
    """Yield what is told of an engine that did not change."""
    changed = [change for point in compared.points for change in point]
    whole = compared.of(compared.whole)
    yield Claim("3 a side: A/A: a single change told", told([each for each in changed if each.metric.name != COUNT]))
    yield Claim("3 a side: A/A: a count told", told([each for each in changed if each.metric.name == COUNT]))
    yield Claim("3 a side: A/A: any figure of all points together told", told(compared.whole))
    yield Claim("3 a side: A/A: throughput of all points together told", told([whole] if whole else []))
    yield Claim("3 a side: A/A: gate broken over all points together", broken("-5%", [whole]))


def bound_claims(compared: Compared) -> Iterator[Claim]:
    """Yield whether a gate is broken whose bound is the truth."""
    bound = f"{100 * compared.effect:g}%"
    for point in compared.points:
        yield Claim("3 a side: gate on the true change broken at a point", broken(bound, [compared.of(point)]))
    yield Claim(
        "3 a side: gate on the true change broken over all points", broken(bound, [compared.of(compared.whole)])
    )


def interval_claims(compared: Compared) -> Iterator[Claim]:
    for claim in comparisons.interval_claims(compared):
        yield replace(claim, topic=f"3 a side: {claim.topic}")


def power_claims(compared: Compared) -> Iterator[Claim]:
    """Yield whether a loss is told."""
    for point in compared.points:
        change = compared.of(point)
        yield Claim("3 a side: -5 %: told worse at a point", change is not None and change.verdict == "worse")
    yield from whole_claims(compared, SWEEPS)


def whole_claims(compared: Compared, sweeps: int) -> Iterator[Claim]:
    """Yield whether it is told over all points together, with so many sweeps of each side."""
    whole, of = compared.of(compared.whole), f"{sweeps} a side: -5 %"
    worse = whole is not None and whole.verdict == "worse"
    yield Claim(f"{of}: told worse over all points together", worse)
    yield Claim(f"{of}: gate at 0 % broken over all points together", broken("0%", [whole]))
