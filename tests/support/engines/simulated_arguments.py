"""Simulated engines whose throughput follows from four arguments, with a planted best: for searches in bulk.

They have three shapes. A peak: budget and sequences each have a best value. A plateau: throughput rises with both up to
a knee, as on the real engine of docs/results/sweeps/argument_search.md. A ridge: the best budget grows with the
sequences, so that neither can be found alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from engine_probe.analysis.compare.argument_trials import Score, Trial, best_of
from engine_probe.analysis.run.slo import Slo
from engine_probe.sweep.argument_search.space import ArgumentSearch, Span
from engine_probe.sweep.argument_search.suggest import suggest
from engine_probe.sweep.argument_search.trials import wants_more

NOISE = 0.03  # relative standard deviation of a measurement
BLOCK_SIZES = [16, 32, 64, 128]
SPACE = {
    "max_num_batched_tokens": Span(64, 4096, log=True),
    "max_num_seqs": Span(4, 256, log=True),
    "num_gpu_blocks_override": Span(50, 400),
    "block_size": Span(choices=BLOCK_SIZES),
}
FEWEST_BLOCKS = 80  # fewer cannot start
STEPS = 49  # of a logarithmic range, to look for the planted best


Shape = Literal["peak", "plateau", "ridge"]
SHAPES: tuple[Shape, ...] = ("peak", "plateau", "ridge")


@dataclass
class SimulatedEngine:
    """Throughput depends on budget and sequences by its shape, and falls with the pool and with the block size.

    Budget and sequences also strain the SLO, and too few blocks or a budget below the sequences cannot start.
    """

    seed: int
    shape: Shape = "peak"

    def __post_init__(self) -> None:
        chance = Random(f"engine {self.seed}")
        ends = ((128, 3000), (8, 200))
        self.budget, self.seqs = (math.exp(chance.uniform(math.log(low), math.log(high))) for low, high in ends)
        self.sharpness = [chance.uniform(0.05, 0.25) for _ in range(2)]
        self.of_block = dict(zip(BLOCK_SIZES, (chance.uniform(0.8, 1) for _ in BLOCK_SIZES), strict=True))
        self.blocks, self.slack = chance.uniform(100, 380), chance.uniform(0.65, 1)
        self.noise = Random(f"noise {self.seed}")

    def true(self, setting: dict[str, Any]) -> Score | None:
        """Return the true score of a setting. None if it cannot start."""
        budget, seqs, blocks, block = (setting[name] for name in SPACE)
        if budget < seqs or blocks < FEWEST_BLOCKS:
            return None
        rate = 1000 * self.of_load(math.log(budget / self.budget), math.log(seqs / self.seqs))
        rate *= self.of_block[block] * min(1.0, math.sqrt(blocks / self.blocks))
        strain = 0.6 * math.log(budget) / math.log(4096) + 0.4 * math.log(seqs) / math.log(256)
        return Score(rate, strain / self.slack)

    def of_load(self, off_budget: float, off_seqs: float) -> float:
        """Return the share of the throughput that is left this far (in logarithms) from the best budget and sequences.

        Beyond a plateau's knee a larger budget costs a little.
        """
        if self.shape == "peak":
            of_seqs = self.sharpness[1] if off_seqs < 0 else 0.05
            return math.exp(-self.sharpness[0] * off_budget**2 - of_seqs * off_seqs**2)
        if self.shape == "plateau":
            short = 2 * self.sharpness[0] * min(0.0, off_budget) + 0.8 * min(0.0, off_seqs)
            return math.exp(short - 0.03 * max(0.0, off_budget))
        return math.exp(-self.sharpness[0] * (off_budget - off_seqs) ** 2 - 0.08 * off_seqs**2)

    def measured(self, setting: dict[str, Any]) -> Score | None:
        score = self.true(setting)
        if score is None or score.strain is None:
            return None
        return Score(
            score.value * math.exp(self.noise.gauss(0, NOISE)), score.strain * math.exp(self.noise.gauss(0, NOISE / 2))
        )

    def planted(self) -> float:
        """Return the highest true throughput within the SLO."""
        ratios = [number / (STEPS - 1) for number in range(STEPS)]
        scores = (
            self.true(
                {
                    "max_num_batched_tokens": 64 * 64**budget,
                    "max_num_seqs": 4 * 64**seqs,
                    "num_gpu_blocks_override": 400,
                    "block_size": max(self.of_block, key=lambda block: self.of_block[block]),
                }
            )
            for budget in ratios
            for seqs in ratios
        )
        return max(score.value for score in scores if score and score.strain is not None and score.strain <= 1)


@dataclass
class Outcome:
    """What a search found: the true throughput of its best as a share of the planted best; 0 if nothing feasible."""

    share: float
    failed: int  # settings whose engine could not start


def searched(engine: SimulatedEngine, most: int) -> list[Trial]:
    """Search a simulated engine until so many settings were measured, as a sweep does; the first is no baseline."""
    search = ArgumentSearch(SPACE, slo=Slo(ttft_ms=1), trials=most, seed=engine.seed)
    tried: list[Trial] = []
    while wants_more(search, tried) and (setting := suggest(search, tried)):
        tried.append(Trial(str(len(tried)), setting, 0, engine.measured(dict(setting)), limited=True))
    return tried


def outcome(engine: SimulatedEngine, tried: Sequence[Trial], trials: int) -> Outcome:
    """Return what a search had found when so many settings were measured."""
    measured = [number for number, trial in enumerate(tried, 1) if trial.score]
    seen = tried[: measured[trials - 1]] if len(measured) >= trials else tried
    best = best_of(seen)
    score = engine.true(dict(best.setting)) if best else None
    return Outcome(score.value / engine.planted() if score else 0.0, sum(trial.score is None for trial in seen))
