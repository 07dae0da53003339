"""How often a search over engine arguments comes near the planted best.

Usage: `OMP_NUM_THREADS=1 python -m tools.results.argument_search_rates`. Simulated engines of four arguments
(`tests/support/engines/simulated_arguments.py`), of three shapes in turn, are searched by Optuna's Gaussian process,
which [search] uses, by its tree-structured estimator and at random. Prints the table in docs/results/.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna

from engine_probe.sweep.argument_search import suggest
from tests.support.engines.simulated_arguments import SHAPES, Outcome, SimulatedEngine, outcome, searched

SAMPLERS: dict[str, Callable[[int], Any]] = {
    "Gaussian process": suggest.sampler,
    "tree-structured estimator": lambda seed: optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=1, multivariate=True
    ),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


HEADER = """\
| suggestions by | shape | searches | settings measured | could not start | within 5 % of the best | within 10 % | \
mean share of the best | least |
|---|---|--:|--:|--:|--:|--:|--:|--:|"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--searches", type=int, default=81)
    options.add_argument("--trials", type=int, nargs="+", default=[19, 21])
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--by", choices=SAMPLERS, nargs="+", default=list(SAMPLERS))
    asked = options.parse_args()
    warnings.simplefilter("ignore")
    print(HEADER)
    for name in asked.by:
        suggest.sampler = SAMPLERS[name]
        found = []
        for seed in range(asked.first_seed, asked.first_seed + asked.searches):
            engine = SimulatedEngine(seed, SHAPES[seed % len(SHAPES)])
            found.append((engine, searched(engine, max(asked.trials))))
        for trials in asked.trials:
            for shape in ("all", *SHAPES):
                outcomes = [outcome(*each, trials) for each in found if shape in ("all", each[0].shape)]
                print(f"| {name} | {shape} | {len(outcomes)} | {trials} | {words(outcomes)} |", flush=True)


def words(outcomes: Sequence[Outcome]) -> str:
    """Return the cells of some searches: failed starts of each, how often they came near, and how near."""
    shares = [each.share for each in outcomes]
    failed = sum(each.failed for each in outcomes) / len(outcomes)
    near = [sum(share >= 1 - within for share in shares) / len(shares) for within in (0.05, 0.1)]
    mean = sum(shares) / len(shares)
    return f"{failed:.1f} | {near[0]:.0%} | {near[1]:.0%} | {mean:.1%} | {min(shares):.0%}"


if __name__ == "__main__":
    main()
