"""How often a search over engine arguments comes near the planted best.

Usage: `python -m tools.results.argument_search_rates`. Simulated engines of four arguments
(`tests/support/engines/simulated_arguments.py`) are searched by Optuna's Gaussian process,
which [search] uses, by its tree-structured estimator and at random. Prints the table in docs/results/.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import optuna

from engine_probe.sweep.argument_search import suggest
from tests.support.engines.simulated_arguments import share_found

SAMPLERS: dict[str, Callable[[int], Any]] = {
    "Gaussian process": suggest.sampler,
    "tree-structured estimator": lambda seed: optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=suggest.STARTUP, multivariate=True
    ),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--searches", type=int, default=40)
    options.add_argument("--trials", type=int, nargs="+", default=[13, 19, 25])
    asked = options.parse_args()
    warnings.simplefilter("ignore")
    print("| suggestions by | trials | within 5 % of the best | within 10 % | mean share of the best | least |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, sampler in SAMPLERS.items():
        suggest.sampler = sampler
        for trials in asked.trials:
            found = [share_found(seed, trials) for seed in range(asked.searches)]
            near = [sum(share >= 1 - within for share in found) / len(found) for within in (0.05, 0.1)]
            mean = sum(found) / len(found)
            print(f"| {name} | {trials} | {near[0]:.0%} | {near[1]:.0%} | {mean:.1%} | {min(found):.0%} |", flush=True)


if __name__ == "__main__":
    main()
