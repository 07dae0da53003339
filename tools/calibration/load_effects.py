"""What the tests of load effects conclude from simulated sweeps in which a figure depends on load or does not."""

from collections.abc import Iterator

import numpy as np

from engine_probe.analysis.compare.load_effect import Effects, OutcomeFigure, RunSeen, effects
from tools.calibration.claims import Claim
from tools.calibration.simulated.noise import KINDS, LEVEL_BY_LEVEL, draw_factors
from tools.calibration.simulated.shapes import between

FIGURES = ("TTFT p50", "TPOT p50", "TPOT p99")
CHANGE = 0.15  # from the lowest to the highest load
SHARED = 0.8  # of the chance in a figure: what all figures of a run have in common


def load_effect(rng: np.random.Generator, index: int) -> tuple[str, list[Claim]]:
    """Simulate a sweep in which, in turns, load changes nothing or changes every figure."""
    kind, changes = list(KINDS)[index % len(KINDS)], bool(index // len(KINDS) % 2)
    levels, repeats = int(rng.integers(5, 16)), int(rng.integers(1, 6))
    found = effects(
        list(runs(rng, kind, levels, repeats, CHANGE if changes else 0.0)),
        [OutcomeFigure(name, "ms") for name in FIGURES],
    )
    return kind, list(effect_claims(found, changes))


def runs(rng: np.random.Generator, kind: str, levels: int, repeats: int, change: float) -> Iterator[RunSeen]:
    """Yield the runs of a sweep whose figures change in proportion to the place of their load."""
    deviation = between(rng, 0.01, 0.10)
    factors = draw_factors(rng, kind, deviation, levels, repeats).runs
    own = np.exp((1 - SHARED) * deviation * rng.standard_normal((levels, repeats, len(FIGURES))))
    for level in range(levels):
        true = 10.0 * (1 + change * level / (levels - 1))
        for repeat in range(repeats):
            values = {
                name: float(true * factors[level, repeat] * own[level, repeat, number])
                for number, name in enumerate(FIGURES)
            }
            position = level * repeats + repeat if kind == LEVEL_BY_LEVEL else repeat * levels + level
            yield RunSeen(f"{level}-{repeat}", float(level + 1), float(position), values)


def effect_claims(found: Effects, changes: bool) -> Iterator[Claim]:
    """Yield what is told; of loads that were measured in their order nothing is claimed."""
    told = None
    if not any(effect.in_order for effect in found.tested):
        told = any(effect.rejected for effect in found.tested)
    if not changes:
        yield Claim("effect of load told where there is none", told)
        return
    yield Claim("change of 15 % over the loads told", told)
    for effect in found.tested:
        yield Claim("not different, where the truth differs by over 10 %", effect.verdict == "not different")
