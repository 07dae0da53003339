"""The confidence interval of the mean of values that resemble their neighbours, such as a rate over time.

The mean varies as the slowest changes of the values do: its variance is their spectrum at frequency zero, over their
number. The spectrum is taken to be that of values whose correlation decays exponentially, with independent noise on
top. Their cosine transform shows the spectrum at every other frequency, one nearly independent value each. Decay time
and share of the noise are not known, so each pair of a grid counts as much as its likelihood (Whittle's) says, with
Student's t for the level. A decay time up to three tenths of the whole time is allowed for, so a short record of slow
changes gets a wide interval. Changes slower than that cannot be seen.
"""

from functools import lru_cache

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.student import CONFIDENCE, quantile

DECAYS, SHORTEST_DECAY, LONGEST_DECAY = 12, 0.3, 0.3  # how many; in values; as a share of all values
NOISES, LEAST_NOISE = 3, 0.001  # how many beside none; over the level of the correlated part at frequency zero
FEWEST_VALUES, MOST_BLOCKS = 8, 200  # the work of an interval grows with the square of the number of its values
HALVINGS = 40  # of the range in which the half width lies


def half_width(values: Reals, confidence: float = CONFIDENCE) -> float:
    """Return half the width of the confidence interval of the mean."""
    from scipy.special import stdtr

    transform, spectra = bases(len(values))
    power = (transform @ values) ** 2
    if not power.any():
        return 0.0
    freedom = len(power)
    levels = (power / spectra).mean(axis=1)  # of the spectrum at frequency zero, one for each shape
    log_likelihood = -(np.log(spectra).sum(axis=1) + freedom * np.log(levels)) / 2
    weights = np.exp(log_likelihood - log_likelihood.max())
    weights /= weights.sum()
    errors = np.sqrt(levels / len(values))
    low, high = 0.0, float(errors.max()) * quantile(freedom, confidence)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if 2 * float(weights @ stdtr(freedom, -middle / errors)) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def surely_positive(values: Reals) -> bool:
    """Return whether the mean of successive values is above zero with its whole interval; few values never tell."""
    if len(values) < FEWEST_VALUES:
        return False
    blocks = np.array([part.mean() for part in np.array_split(values, min(len(values), MOST_BLOCKS))])
    return bool(blocks.mean() > half_width(blocks))


@lru_cache(maxsize=64)
def bases(count: int) -> tuple[Reals, Reals]:
    """Return the cosine transform without its constant, and every shape of the spectrum, 1 at frequency zero."""
    frequencies = np.pi * np.arange(1, count) / count
    transform = np.sqrt(2 / count) * np.cos(np.outer(frequencies, np.arange(count) + 0.5))
    kept = np.exp(-1 / np.geomspace(SHORTEST_DECAY, LONGEST_DECAY * count, DECAYS))[:, None]
    correlated = (1 - kept) ** 2 / (1 + kept**2 - 2 * kept * np.cos(frequencies))
    noise = np.concatenate(([0.0], np.geomspace(LEAST_NOISE, 1, NOISES)))[:, None, None]
    return transform, ((correlated + noise) / (1 + noise)).reshape(-1, count - 1)
