"""Simulated engines whose throughput follows from four arguments, with a planted best: for searches in bulk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

from engine_probe.analysis.compare.argument_trials import Score, Trial, best_of
from engine_probe.analysis.run.slo import Slo
from engine_probe.sweep.argument_search.space import ArgumentSearch, Span
from engine_probe.sweep.argument_search.suggest import suggest

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


@dataclass
class SimulatedEngine:
    """Throughput falls off a best budget and a best number of sequences, with the pool and with the block size.

    Budget and sequences also strain the SLO, and too few blocks or a budget below the sequences cannot start.
    """

    seed: int

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
        off_budget, off_seqs = math.log(budget / self.budget), math.log(seqs / self.seqs)
        rate = 1000 * math.exp(-self.sharpness[0] * off_budget**2) * self.of_block[block]
        rate *= math.exp(-(self.sharpness[1] if off_seqs < 0 else 0.05) * off_seqs**2)
        rate *= min(1.0, math.sqrt(blocks / self.blocks))
        strain = 0.6 * math.log(budget) / math.log(4096) + 0.4 * math.log(seqs) / math.log(256)
        return Score(rate, strain / self.slack)

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


def share_found(seed: int, trials: int) -> float:
    """Search a simulated engine, and return the true throughput of what was found as a share of the planted best.

    Zero if nothing feasible was found.
    """
    engine, search = SimulatedEngine(seed), ArgumentSearch(SPACE, slo=Slo(ttft_ms=1), trials=trials, seed=seed)
    tried: list[Trial] = []
    while len(tried) < trials and (setting := suggest(search, tried)):
        tried.append(Trial(str(len(tried)), setting, 0, engine.measured(dict(setting)), limited=True))
    best = best_of(tried)
    score = engine.true(dict(best.setting)) if best else None
    return score.value / engine.planted() if score else 0.0
