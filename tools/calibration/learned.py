"""Learn from simulated levels how likely each end of a curve is, and how often a region is true that curves share.

    .venv/bin/python -m tools.calibration.learned --sweeps 2160 --seed 7001

It prints what belongs into `ENDS` (`analysis.curve.shapes`) and `CERTAINTIES` (`analysis.curve.growth`), given what
stands there now. The weights of the ends are those with which the true regions of all levels are likeliest; the curves
of a sweep are drawn once and weighed anew. A region that curves share is then held against the truth, as Platt did: a
logistic curve over the logarithm of its odds. Both are kept near no change by so much as `PRIOR` says, as a region of
which few are told would else be learned from chance. Sweeps whose noise is kept out of the verdicts are left out here.
Test what was learned with another seed: `make measure-calibration`.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from rich.progress import track
from scipy.optimize import minimize

from engine_probe.analysis.curve.growth import CERTAINTIES, DOUBT, followed, regions_of
from engine_probe.analysis.curve.likelihood import Likelihood
from engine_probe.analysis.curve.posterior import CurveSampler
from engine_probe.analysis.curve.regions import LETTERS
from engine_probe.analysis.curve.saturation import scatter
from engine_probe.analysis.curve.shapes import ENDS
from engine_probe.analysis.statistics.arrays import Flags, Reals
from tools.calibration.campaign import begin
from tools.calibration.curves import in_region
from tools.calibration.simulated.sweeps import DRAINED, draw_sweep, sweep_plan

REGIONS = tuple(CERTAINTIES)
FREE = tuple(end for end in ENDS if end)  # their weights are relative to that of growth without an end
PRIOR = 20.0  # claims; an offset or a slope that is off by one costs half as much as a factor of e in the odds of each
PRIOR_WEIGHTS = 1.0  # the same of a weight, in sweeps
SURE = 0.98  # shares from here on say nothing about the middle, and are printed alike
LEAST = 5e-4  # a share of no curve: one of those drawn


@dataclass(frozen=True)
class Learned:
    """One simulated sweep: the curves that its levels allow, and the truth."""

    shares: Reals  # ends x levels x regions: of the curves
    true: Flags  # levels x regions; at some levels two are true
    alone: bool  # a load of one was measured

    def weighed(self, logs: Reals) -> Reals:
        """Return the share of the curves in each region, levels x regions, if ends have other weights by these logs."""
        found = np.tensordot(np.exp([0.0, *logs]), self.shares, 1)
        return np.asarray(found / found.sum(axis=1, keepdims=True), dtype=np.float64)


def simulated(index: int, seed: int) -> Learned | None:
    """Draw a sweep and the curves that it allows. None if the product tells no curve."""
    shape, condition = sweep_plan(index)
    if condition in DRAINED:
        return None
    sweep = draw_sweep(np.random.default_rng([seed, 0, index]), shape, condition)
    measured = sweep.levels()
    loads = np.array([level.load for level in measured])
    rates = np.array([level.output_tokens_per_s for level in measured])
    curves = CurveSampler(loads, Likelihood(rates, scatter(measured))).draw()
    if curves is None:
        return None
    ends = np.array([list(ENDS).index(family.end) for family in curves.families])[curves.kinds]
    regions = np.stack(regions_of(followed(curves, loads)[0], loads), axis=1)  # levels x regions x curves
    shares = np.stack([(regions & (ends == place)).mean(axis=2) for place in range(len(ENDS))])
    true = [[in_region(LETTERS[kind], sweep.shape, load) for kind in REGIONS] for load in loads.tolist()]
    return Learned(shares, np.array(true), bool(loads[0] <= 1))


def log_chance(sweeps: Sequence[Learned], logs: Reals) -> float:
    """Return the mean logarithm of the chance that a level's true region is given, by sweep."""
    return float(np.mean([np.log(LEAST + (each.weighed(logs) * each.true).sum(axis=1)).mean() for each in sweeps]))


def logs_of_weights(sweeps: Sequence[Learned]) -> Reals:
    """Return by how much the logarithm of each end's weight changes, so that true regions are likeliest."""

    def cost(logs: Reals) -> float:
        return float(PRIOR_WEIGHTS * logs @ logs / 2 - len(sweeps) * log_chance(sweeps, logs))

    return np.asarray(minimize(cost, np.zeros(len(FREE))).x, dtype=np.float64)


def told(each: Learned, logs: Reals) -> Iterator[tuple[int, float, bool]]:
    """Yield the region of each level that most curves have, its share of them, and whether it is true."""
    for shares, true in zip(each.weighed(logs), each.true, strict=True):
        kind = int(shares.argmax())
        unclear = REGIONS[kind] == "spare" and not each.alone and shares[kind] < 1 - DOUBT
        if not unclear and shares[kind] < SURE:
            yield kind, float(shares[kind]), bool(true[kind])


def logistic(shares: Reals, true: Reals) -> tuple[float, float]:
    """Return the offset and the slope of the logistic curve with which these truths are likeliest."""
    odds = np.log(shares / (1 - shares))

    def cost(found: Reals) -> float:
        logits = found[0] + found[1] * odds
        change = found - (0.0, 1.0)
        return float((np.logaddexp(0, logits) - true * logits).sum() + PRIOR * change @ change)

    offset, slope = minimize(cost, np.array([0.0, 1.0])).x
    return float(offset), float(slope)


def learn(sweeps: Sequence[Learned]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return the weights of the ends, and the offset and slope of each region."""
    logs = logs_of_weights(sweeps)
    claims = np.array([claim for each in sweeps for claim in told(each, logs)]).reshape(-1, 3)
    weights = {end: ENDS[end][0] * float(np.exp(log)) for end, log in zip(FREE, logs, strict=True)}
    of_region = (claims[claims[:, 0] == place] for place in range(len(REGIONS)))
    return weights, {kind: logistic(found[:, 1], found[:, 2]) for kind, found in zip(REGIONS, of_region, strict=True)}


def main() -> None:
    purpose = "Learn how likely each end of a curve is, and how often a region is true."
    parser = argparse.ArgumentParser("python -m tools.calibration.learned", description=purpose)
    parser.add_argument("--sweeps", type=int, default=2160, help="simulated sweeps (default: 2160)")
    parser.add_argument("--seed", type=int, default=7001, help="of all random numbers (default: 7001)")
    asked = parser.parse_args()
    if asked.sweeps < 1:
        parser.error(f"--sweeps is {asked.sweeps}: at least 1 is needed")
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=begin) as pool:
        drawn = pool.map(simulated, range(asked.sweeps), [asked.seed] * asked.sweeps, chunksize=8)
        sweeps = [each for each in track(drawn, "simulating", asked.sweeps, transient=True) if each]
    weights, certainties = learn(sweeps)
    today, then = (np.exp(log_chance(sweeps, logs)) for logs in (np.zeros(len(FREE)), logs_of_weights(sweeps)))
    print(f"A true region has a chance of {today:.2%} with today's weights, {then:.2%} with these (geometric means).")
    print("ENDS:", ", ".join(f"{end} {weight:.2f}" for end, weight in weights.items()))
    print("CERTAINTIES:", ", ".join(f"{kind} ({one:.2f}, {two:.2f})" for kind, (one, two) in certainties.items()))


if __name__ == "__main__":
    main()
