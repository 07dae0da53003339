"""The curves that measured levels allow, drawn by sequential Monte Carlo: the likelier, the more of a kind.

Curves of all families are drawn from their prior. The likelihood is brought in by steps: curves that fit badly give way
to copies of those that fit well, then each is moved by the difference of two others of its family (Metropolis steps).
The random numbers are always the same ones, so a recording always gives the same figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.curve.likelihood import Likelihood
from engine_probe.analysis.curve.shapes import ENDS, FAMILIES, MOST_PARAMETERS, Family, Reals

Places = npt.NDArray[np.intp]

DRAWN = 2000
KEPT = 0.5  # of the curves a step of the likelihood leaves in effect so many
HALVINGS = 25  # in the search for that step
MOVES = 2  # after each step; twice as many after the last
STRIDES = (0.3, 0.8)  # times the difference of two curves
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

    def rates(self, loads: Reals, measured: tuple[float, float]) -> Reals:
        found = np.empty((len(self.cube), len(loads)))
        for family, place in self.by_family():
            found[place] = family.rates(self.cube[place], loads, measured)
        return found


class Sampler:
    """Draws curves for the levels of one sweep."""

    def __init__(self, levels: Reals, likelihood: Likelihood) -> None:
        self._levels, self._measured = levels, (float(levels[0]), float(levels[-1]))
        self._likelihood, self._random = likelihood, np.random.default_rng(SEED)

    def draw(self) -> Curves | None:
        """Return curves, each as likely as any other. None if there are too few levels for any."""
        families = tuple(family for family in FAMILIES if family.parameters + 1 < len(self._levels))
        if not families:
            return None
        prior = np.cumsum([ENDS[family.end][0] for family in families])
        kinds = np.searchsorted(prior / prior[-1], (np.arange(DRAWN) + 0.5) / DRAWN)
        curves, share = self.judged(families, kinds, self._random.random((DRAWN, MOST_PARAMETERS))), 0.0
        while share < 1:
            curves, share = self.chosen(curves, share)
            for _ in range(MOVES if share < 1 else 2 * MOVES):
                curves = self.moved(curves, share)
        return curves

    def judged(self, families: tuple[Family, ...], kinds: Places, cube: Reals) -> Curves:
        unknown = np.empty((0, 0))
        rates = Curves(families, kinds, cube, unknown, unknown).rates(self._levels, self._measured)
        errors = self._likelihood.errors(rates)
        return Curves(families, kinds, cube, errors, self._likelihood(errors))

    def chosen(self, curves: Curves, share: float) -> tuple[Curves, float]:
        """Bring in more of the likelihood, and draw the curves again by what that adds."""
        behind = curves.fits - curves.fits.max()
        low, high = share, 1.0
        if in_effect(behind * (1 - share)) < KEPT * DRAWN:
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                low, high = (low, middle) if in_effect(behind * (middle - share)) < KEPT * DRAWN else (middle, high)
        weights = np.cumsum(np.exp(behind * (high - share)))
        drawn = np.searchsorted(weights / weights[-1], (np.arange(DRAWN) + self._random.random()) / DRAWN)
        return replaced(curves, drawn), high

    def moved(self, curves: Curves, share: float) -> Curves:
        """Propose to move each curve within its family, and accept what the likelihood so far allows."""
        first = np.searchsorted(curves.kinds, curves.kinds, "left")
        many = np.searchsorted(curves.kinds, curves.kinds, "right") - first
        one, other = (first + (self._random.random(DRAWN) * many).astype(np.intp) for _ in range(2))
        stride = self._random.choice(STRIDES, (DRAWN, 1))
        jitter = JITTER * self._random.standard_normal(curves.cube.shape)
        proposed = curves.cube + stride * (curves.cube[one] - curves.cube[other]) + jitter
        outside = np.abs(proposed - 0.5).max(axis=1) > 0.5
        proposed[outside] = curves.cube[outside]
        new = self.judged(curves.families, curves.kinds, proposed)
        accepted = ~outside & (np.log(self._random.random(DRAWN)) < share * (new.fits - curves.fits))
        take = accepted[:, None]
        cube, errors = np.where(take, new.cube, curves.cube), np.where(take, new.errors, curves.errors)
        return Curves(curves.families, curves.kinds, cube, errors, np.where(accepted, new.fits, curves.fits))


def replaced(curves: Curves, drawn: Places) -> Curves:
    """Return the curves at these ascending places."""
    return Curves(curves.families, curves.kinds[drawn], curves.cube[drawn], curves.errors[drawn], curves.fits[drawn])


def in_effect(logs: Reals) -> float:
    """Return how many equal weights tell as much as these."""
    weights = np.exp(logs)
    return float(weights.sum() ** 2 / (weights**2).sum())
