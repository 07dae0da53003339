"""Non-negative prices of what is counted, fitted to times, and how each recording moves them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals

FITS = 12  # each weights a time less the farther it lay from the fit before
STALL = 10.0  # a time that is so many times what it should be is counted as that many


class PriceFit(NamedTuple):
    """Prices, and what they were fitted to."""

    prices: Reals
    counts: Reals
    ns: Reals
    weights: Reals  # of the last least squares

    def influence(self, sizes: Sequence[int]) -> Reals:
        """Return a row for each of consecutive parts: how prices grow with the logarithm of the part's times."""
        found, predicted = np.zeros((len(sizes), len(self.prices))), self.counts @ self.prices
        used = np.flatnonzero(self.prices > 0)
        if not len(used):
            return found
        own = np.repeat(np.eye(len(sizes)), sizes, axis=0)  # whether a time is in a part
        weighted = self.counts[:, used] * self.weights[:, None]
        scale = np.linalg.norm(weighted, axis=0)
        longer = own * (self.ns * self.weights)[:, None]
        found[:, used] = (np.linalg.lstsq(weighted / scale, longer, rcond=None)[0] / scale[:, None]).T
        # The sums' scale makes up for what the least squares leave of a part's own share of the time.
        left = own.T @ np.minimum(self.ns, STALL * predicted) - found @ self.counts.sum(axis=0)
        return found + np.outer(left / predicted.sum(), self.prices)


def fitted_prices(counts: Reals, ns: Reals, whole: Reals) -> PriceFit:
    """Return the non-negative prices of times that are parts of whole ones, scaled to the sum of these parts.

    They have the least absolute errors, each as a share of the whole time.
    """
    from scipy.optimize import nnls

    scale = np.maximum(counts.max(axis=0), 1.0)
    scaled, weights = counts / scale, 1 / whole
    prices, used = np.zeros(counts.shape[1]), weights
    for _ in range(FITS):
        weighted, used = scaled * weights[:, None], weights
        # The same least squares in a row for each price and one more.
        triangle: Reals = np.linalg.qr(np.column_stack([weighted, ns * weights])).R
        prices = nnls(triangle[:, :-1], triangle[:, -1])[0]
        distances = np.abs(scaled @ prices - ns) / whole
        weights = 1 / (whole * np.sqrt(np.maximum(distances, max(float(np.median(distances)) / 10, 1e-6))))
    return PriceFit(_scaled_to_sums(prices / scale, counts, ns), counts, ns, used)


def _scaled_to_sums(prices: Reals, counts: Reals, ns: Reals) -> Reals:
    """Scale all prices by recorded over predicted time, with stalls cut."""
    predicted = counts @ prices
    total = predicted.sum()
    return prices * (np.minimum(ns, STALL * predicted).sum() / total) if total else prices
