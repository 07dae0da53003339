"""Sweeps over load of a simulated engine, as the levels that the analysis is given."""

from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.curve.held_load import TURNOVERS as TURNOVERS_TO_JUDGE
from engine_probe.analysis.curve.saturation import Level
from engine_probe.analysis.statistics.arrays import Reals
from tools.calibration.simulated.drain import draw_lengths, run_to_the_end
from tools.calibration.simulated.noise import KINDS, LEVEL_BY_LEVEL, Factors, draw_factors
from tools.calibration.simulated.shapes import DRAWS, Shape, between, draw_shape

IN_PROPORTION, SAME_NUMBER = "drain, requests in proportion to load", "drain, the same requests at every load"
DRAINED = (IN_PROPORTION, SAME_NUMBER)
CONDITIONS = (*KINDS, *DRAINED)
DEVIATIONS = (0.01, 0.10)
MOST_REPEATS = 5
TURNOVERS = (2, 3, 4, 6, 8)  # requests for each place in flight (at the highest load, or at every load)


@dataclass(frozen=True)
class Sweep:
    """One simulated sweep, and the engine behind it."""

    shape: Shape
    condition: str
    deviation: float
    loads: tuple[int, ...]
    rates: Reals  # levels x repeats
    occasion: float  # the factor that all runs have in common
    uneven: Reals | None = None  # the deviation of each level, if they differ

    @property
    def repeats(self) -> int:
        return int(self.rates.shape[1])

    @property
    def noisiest(self) -> int | None:
        """Return the load whose repeats scatter most. None if all scatter alike."""
        return None if self.uneven is None else self.loads[int(np.argmax(self.uneven))]

    def levels(self) -> list[Level]:
        """Return what `engine_probe.analysis.curve.levels` makes of such points."""
        return [
            Level(
                load=float(load),
                output_tokens_per_s=float(rates.mean()),
                peak_running=load,
                peak_kv_share=load / (2 * self.loads[-1]),
                waited_for_kv=False,
                repeated=tuple(rates.tolist()),
                in_rounds=self.condition != LEVEL_BY_LEVEL,
            )
            for load, rates in zip(self.loads, self.rates, strict=True)
        ]


def draw_loads(rng: np.random.Generator) -> tuple[int, ...]:
    """Draw 5 to 15 loads: powers of two, even steps, or growing steps."""
    count = int(rng.integers(5, 16))
    kind = rng.choice(("powers of two", "even", "growing"))
    if kind == "powers of two":
        return tuple(2**exponent for exponent in range(min(count, 9)))
    if kind == "even":
        step = int(rng.choice((1, 2, 4, 8, 10, 16, 20)))
        loads = [step * number for number in range(1, count + 1)]
        return tuple(loads if step == 1 or rng.random() < 0.3 else [1, *loads[:-1]])
    highest = between(rng, 2.0 * count, 400.0)
    return tuple(sorted({round(load) for load in np.geomspace(1, highest, count).tolist()}))


def draw_sweep(rng: np.random.Generator, shape_name: str, condition: str) -> Sweep:
    """Draw a sweep: its loads, its engine, its repeats and its noise."""
    loads = draw_loads(rng)
    shape = draw_shape(rng, shape_name, float(loads[-1]))
    repeats, deviation = int(rng.integers(1, MOST_REPEATS + 1)), between(rng, *DEVIATIONS)
    if condition in DRAINED:
        turnovers = int(rng.choice(TURNOVERS))
        requests = {load: turnovers * (loads[-1] if condition == SAME_NUMBER else load) for load in loads}
        loads, clean, kind = *drained(rng, shape, requests, repeats), "independent"
    else:
        clean, kind = shape.rate(np.array(loads, dtype=np.float64))[:, None], condition
    factors: Factors = draw_factors(rng, kind, deviation, len(loads), repeats)
    return Sweep(shape, condition, deviation, loads, clean * factors.runs, factors.occasion, factors.uneven)


def drained(
    rng: np.random.Generator, shape: Shape, requests: dict[int, int], repeats: int
) -> tuple[tuple[int, ...], Reals]:
    """Return the loads that were held long enough for a curve, and their throughput then; else all, of whole runs.

    `requests` has their number at each load. The choice is that of `engine_probe.analysis.curve.levels`.
    """
    runs = {
        load: [run_to_the_end(shape.rate, load, draw_lengths(rng, count)) for _ in range(repeats)]
        for load, count in requests.items()
    }
    held = [load for load, (one, *_) in runs.items() if one.held_answers >= TURNOVERS_TO_JUDGE * load]
    if len(held) > 1:
        return tuple(held), np.array([[run.held for run in runs[load]] for load in held])
    return tuple(runs), np.array([[run.whole for run in same] for same in runs.values()])


def sweep_plan(index: int) -> tuple[str, str]:
    """Return the shape and the condition of a sweep by its number: every pair of them comes equally often."""
    shapes = list(DRAWS)
    return shapes[index % len(shapes)], CONDITIONS[index // len(shapes) % len(CONDITIONS)]
