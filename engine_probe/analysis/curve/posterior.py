"""The curves that measured levels allow, drawn by sequential Monte Carlo: the likelier, the more of a kind.

Curves of each family are drawn from their prior. The likelihood is brought in by steps: curves that fit badly give way
to copies of those that fit well, then each is moved by the difference of two others of its family (Metropolis steps).
These steps also give the weight of each family, by which curves are drawn from all at the end. The random numbers are
always the same ones, so a recording always gives the same figures.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.curve.likelihood import Likelihood
from engine_probe.analysis.curve.shapes import ENDS, FAMILIES, MOST_PARAMETERS, BreakRange, Family
from engine_probe.analysis.statistics.arrays import Reals

Places = npt.NDArray[np.intp]

OF_FAMILY = 320  # curves, until the families are weighed
DRAWN = 2000  # of all families, by their weights
KEPT = 0.6  # of the curves of a family, in effect, after a step of the likelihood
HALVINGS = 20  # in the search for that step
MOVES, LAST_MOVES = 4, 6
STRIDES = (0.3, 0.8)  # times the difference of two curves
UNUSED = 0.5  # place of a parameter that a family does not have
JITTER = 1e-3  # in the unit cube
SEED = 1


@dataclass(frozen=True)
class Curves:
    """Curves of several families, those of a family beside each other."""

    families: tuple[Family, ...]
    kinds: Places  # the place of each curve's family
    cube: Reals  # parameters x curves
    errors: Reals  # levels x curves, relative
    fits: Reals  # logarithm of the likelihood

    def by_family(self) -> Iterator[tuple[Family, slice]]:
        edges = np.searchsorted(self.kinds, np.arange(len(self.families) + 1))
        for family, first, last in zip(self.families, edges[:-1], edges[1:], strict=True):
            if first < last:
                yield family, slice(first, last)

    def rates(self, loads: Reals, span: BreakRange) -> Reals:
        """Return the rate at each load, a row, of each curve."""
        found = np.empty((len(loads), len(self.kinds)))
        for family, place in self.by_family():
            found[:, place] = family.rates(self.cube[:, place], loads, span)
        return found

    def replace(self, places: Places, others: Self) -> None:
        """Put other curves, of the same families, at these places."""
        self.cube[:, places], self.errors[:, places], self.fits[places] = others.cube, others.errors, others.fits

    def at(self, places: Places) -> Self:
        """Return the curves at these ascending places."""
        names = ("kinds", "cube", "errors", "fits")
        return replace(self, **{name: getattr(self, name).take(places, axis=-1) for name in names})


class CurveSampler:
    """Draws curves for the levels of one sweep."""

    def __init__(self, levels: Reals, likelihood: Likelihood) -> None:
        self._levels, self._span = levels, BreakRange(levels)
        self._likelihood, self._random = likelihood, np.random.default_rng(SEED)

    def draw(self) -> Curves | None:
        """Return curves, each as likely as any other. None if there are too few levels for any.

        Until the whole likelihood is in, each family keeps its number of curves, however badly it fits: a family with a
        break may fit best and be late to show it.
        """
        families = tuple(family for family in FAMILIES if family.parameters + 1 < len(self._levels))
        if not families:
            return None
        kinds = np.repeat(np.arange(len(families)), OF_FAMILY)
        used = np.arange(MOST_PARAMETERS)[:, None] < np.array([family.parameters for family in families])[kinds]
        cube = np.where(used, self._random.random(used.T.shape).T, UNUSED)
        curves, share = self.judged(families, kinds, cube), 0.0
        evidence = np.log([ENDS[family.end][0] for family in families])
        while share < 1:
            fits = curves.fits.reshape(len(families), OF_FAMILY)
            more = step(fits, 1 - share)
            evidence += np.log(np.exp(more * (fits - fits.max(axis=1, keepdims=True))).mean(axis=1))
            evidence += more * fits.max(axis=1)
            share += more
            curves = curves.at(self.chosen(more * fits))
            self.move(curves, share, MOVES)
        each = np.repeat(evidence - evidence.max(), OF_FAMILY)
        curves = curves.at(self.resampled(np.exp(each), DRAWN))
        self.move(curves, 1.0, LAST_MOVES)
        return curves

    def judged(self, families: tuple[Family, ...], kinds: Places, cube: Reals) -> Curves:
        unknown = np.empty((0, 0))
        rates = Curves(families, kinds, cube, unknown, unknown).rates(self._levels, self._span)
        errors = self._likelihood.errors(rates)
        return Curves(families, kinds, cube, errors, self._likelihood(errors))

    def chosen(self, fits: Reals) -> Places:
        """Draw the curves of each family again, by their weights within it."""
        weights = np.exp(fits - fits.max(axis=1, keepdims=True))
        return self.resampled((weights / weights.sum(axis=1, keepdims=True)).ravel(), fits.size)

    def resampled(self, weights: Reals, count: int) -> Places:
        """Return ascending places, each as often as its weight says."""
        up_to = np.cumsum(weights)
        places = np.searchsorted(up_to / up_to[-1], (np.arange(count) + self._random.random()) / count)
        return np.minimum(places, len(weights) - 1)

    def move(self, curves: Curves, share: float, times: int) -> None:
        """Move each curve within its family by Metropolis steps under the likelihood so far, `times` times."""
        count = len(curves.kinds)
        first = np.searchsorted(curves.kinds, curves.kinds, "left")
        many = np.searchsorted(curves.kinds, curves.kinds, "right") - first
        for _ in range(times):
            one, other = (first + (self._random.random(count) * many).astype(np.intp) for _ in range(2))
            stride = self._random.choice(STRIDES, count)
            jitter = JITTER * self._random.standard_normal(curves.cube.T.shape).T
            proposed = curves.cube + stride * (curves.cube.take(one, 1) - curves.cube.take(other, 1)) + jitter
            inside = np.flatnonzero(np.abs(proposed - 0.5).max(axis=0) <= 0.5)
            new = self.judged(curves.families, curves.kinds[inside], proposed.take(inside, 1))
            allowed = np.log(self._random.random(count))[inside] < share * (new.fits - curves.fits[inside])
            curves.replace(inside[allowed], new.at(np.flatnonzero(allowed)))


def step(fits: Reals, most: float) -> float:
    """Return how much of the likelihood can be brought in such that enough curves of a family stay in effect."""
    behind = fits - fits.max(axis=1, keepdims=True)
    low, high = 0.0, most
    if in_effect(high * behind) >= KEPT:
        return most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if in_effect(middle * behind) >= KEPT else (low, middle)
    return high


def in_effect(logs: Reals) -> float:
    """Return the share of equal weights that would tell as much as these, on average over the rows."""
    weights = np.exp(logs)
    return float(np.mean(weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1) / logs.shape[1]))
