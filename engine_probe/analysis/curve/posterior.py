"""The curves that measured levels allow, drawn by sequential Monte Carlo: the likelier, the more of a kind.

Curves of each family are drawn from their prior. The likelihood is brought in by steps: curves that fit badly give way
to copies of those that fit well, then each is moved by the difference of two others of its family (Metropolis steps).
These steps also give the weight of each family, by which curves are drawn from all at the end. The random numbers are
always the same ones, so a recording always gives the same figures.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.curve.likelihood import Likelihood
from engine_probe.analysis.curve.shapes import ENDS, FAMILIES, MOST_PARAMETERS, Family, Reals, Span

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
    cube: Reals
    errors: Reals  # at the levels, relative
    fits: Reals  # logarithm of the likelihood

    def by_family(self) -> Iterator[tuple[Family, slice]]:
        edges = np.searchsorted(self.kinds, np.arange(len(self.families) + 1))
        for family, first, last in zip(self.families, edges[:-1], edges[1:], strict=True):
            if first < last:
                yield family, slice(first, last)

    def rates(self, loads: Reals, span: Span) -> Reals:
        found = np.empty((len(self.cube), len(loads)))
        for family, place in self.by_family():
            found[place] = family.rates(self.cube[place], loads, span)
        return found


class Sampler:
    """Draws curves for the levels of one sweep."""

    def __init__(self, levels: Reals, likelihood: Likelihood) -> None:
        self._levels, self._span = levels, Span(levels)
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
        used = np.arange(MOST_PARAMETERS) < np.array([family.parameters for family in families])[kinds][:, None]
        cube = np.where(used, self._random.random(used.shape), UNUSED)
        curves, share = self.judged(families, kinds, cube), 0.0
        evidence = np.log([ENDS[family.end][0] for family in families])
        while share < 1:
            fits = curves.fits.reshape(len(families), OF_FAMILY)
            more = step(fits, 1 - share)
            evidence += np.log(np.exp(more * (fits - fits.max(axis=1, keepdims=True))).mean(axis=1))
            evidence += more * fits.max(axis=1)
            share += more
            curves = replaced(curves, self.chosen(more * fits))
            for _ in range(MOVES):
                curves = self.moved(curves, share)
        each = np.repeat(evidence - evidence.max(), OF_FAMILY)
        curves = replaced(curves, self.resampled(np.exp(each), DRAWN))
        for _ in range(LAST_MOVES):
            curves = self.moved(curves, 1.0)
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

    def moved(self, curves: Curves, share: float) -> Curves:
        """Propose to move each curve within its family, and accept what the likelihood so far allows."""
        count = len(curves.kinds)
        first = np.searchsorted(curves.kinds, curves.kinds, "left")
        many = np.searchsorted(curves.kinds, curves.kinds, "right") - first
        one, other = (first + (self._random.random(count) * many).astype(np.intp) for _ in range(2))
        stride = self._random.choice(STRIDES, (count, 1))
        jitter = JITTER * self._random.standard_normal(curves.cube.shape)
        proposed = curves.cube + stride * (curves.cube[one] - curves.cube[other]) + jitter
        outside = np.abs(proposed - 0.5).max(axis=1) > 0.5
        proposed[outside] = curves.cube[outside]
        new = self.judged(curves.families, curves.kinds, proposed)
        accepted = ~outside & (np.log(self._random.random(count)) < share * (new.fits - curves.fits))
        take = accepted[:, None]
        cube, errors = np.where(take, new.cube, curves.cube), np.where(take, new.errors, curves.errors)
        return Curves(curves.families, curves.kinds, cube, errors, np.where(accepted, new.fits, curves.fits))


def replaced(curves: Curves, drawn: Places) -> Curves:
    """Return the curves at these ascending places."""
    return Curves(curves.families, curves.kinds[drawn], curves.cube[drawn], curves.errors[drawn], curves.fits[drawn])


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
