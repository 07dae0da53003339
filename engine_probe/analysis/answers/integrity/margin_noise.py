"""How far numerics move the margin between the chosen and the second-best token, measured where both runs agree.

Up to their first difference two greedy runs computed the same tokens, so that their margins should be equal; how far
they are not is the noise of the arithmetic. Three things are read from these shifts.

- Which requests are disturbed: their largest shift, or the largest of a stretch of tokens (the root of the sum of
  squares), is far beyond those of the other requests. A token computed from a wrong KV block may move no further than
  numerics move some tokens, but so do those after it. The tail of the requests' largest values falls off in proportion,
  as below. It is first fitted by its median, which a few faults cannot move, and then without the requests beyond it.
- The largest shift that numerics explain, from the requests that are not disturbed. A shift changes a token in
  proportion to its size, if margins near zero are about equally frequent, so each shift is weighted by its size. The
  tail beyond the measured shifts falls off in proportion, step by step (exponential, or geometric where logits are
  rounded), and no faster than so many requests can tell.
- Without enough shifts to measure noise, the margins of all tokens: a change that would need a larger shift than the
  smallest tenth of all margins is no near-tie.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.answers.integrity.aligned_answers import AnswerPair
from engine_probe.analysis.statistics.arrays import Reals

CHANCE = 0.05  # that any near-tie of a comparison exceeds the limit
DISTURBED_CHANCE = 0.01  # that any request without a fault is called disturbed, half of it by each of two values
FEWEST = 20  # shifts, or requests with one
FEWEST_REQUESTS = 5
STRETCH = 8  # tokens whose shifts are taken together
TAIL = 0.1  # share of the shifts from which the tail is fitted
REQUESTS_TAIL = 0.2  # share of the requests with a shift
REFITS = 10  # of the tail, without the requests beyond it
NEGLIGIBLE = 0.05  # of the sum of all shifts: together, shifts below a step are no more
SMALLEST = 0.1  # share of all margins


@dataclass(frozen=True)
class MarginNoise:
    """The noise of margins between a reference run and others, and what it explains."""

    tokens: int  # compared: both runs chose the same token after the same tokens
    shifted: int  # of them, those whose margin is not exactly the same
    requests: int  # compared
    shifted_requests: int
    step: float  # smallest shift that matters: of rounded logits, their step; 0.0 without shifts
    largest: float
    limit: float | None  # largest shift that numerics explain; None if too few margins shifted to measure it
    smallest_margins: float  # a tenth of all margins are below this
    disturbance: float  # largest shift of a request without a fault
    stretch_disturbance: float  # largest of STRETCH shifts together, of such a request

    @property
    def bound(self) -> float:
        """Return the shift beyond which a changed token is no near-tie."""
        return self.smallest_margins if self.limit is None else self.limit

    def disturbed_token(self, shifts: Reals) -> int | None:
        """Return the first token at which a request's shifts are beyond those of requests without a fault."""
        beyond = (shifts > self.disturbance) | (stretches(shifts) > self.stretch_disturbance)
        return int(beyond.argmax()) if beyond.any() else None


def margin_shifts(pair: AnswerPair) -> Reals:
    """Return how far each margin moved, over the tokens that both answers begin with. Empty without log-probabilities.

    Where the second-best token changed too, it is the least that either margin moved.
    """
    if pair.logprobs is None:
        return np.empty(0)
    mine, theirs = pair.logprobs
    shifts: Reals = np.abs(theirs.margins[: pair.common] - mine.margins[: pair.common])
    return np.where(np.isfinite(shifts), shifts, 0.0)  # of two margins without end nothing can be told


def stretches(shifts: Reals) -> Reals:
    """Return for each token the shifts of the stretch that ends with it, together: the root of the sum of squares."""
    sums = np.cumsum(np.concatenate([np.zeros(STRETCH), shifts**2]))
    found: Reals = np.sqrt(np.maximum(sums[STRETCH:] - sums[:-STRETCH], 0.0))
    return found


def disturbance_limit(most: Reals, spacing: Callable[[float], float], otherwise: float) -> float:
    """Return the largest value that a request without a fault has, given the largest of every request.

    Neighbouring values of that size are `spacing` apart.
    """
    moved = np.sort(most[most > 0])
    if len(moved) < FEWEST:
        return otherwise
    begin = float(np.quantile(moved, 1 - REQUESTS_TAIL))
    over = moved[moved >= begin - spacing(begin) / 2]
    limit = _beyond(begin, (float(np.median(over)) - begin + spacing(begin)) / math.log(2), len(over), spacing(begin))
    for _ in range(REFITS):
        kept = moved[moved <= limit]
        begin = float(np.quantile(kept, 1 - REQUESTS_TAIL))
        over = kept[kept >= begin - spacing(begin) / 2]
        limit = _beyond(begin, float(over.mean()) - begin, len(over), spacing(begin))
        if len(kept) == np.count_nonzero(moved <= limit):
            break
    return limit


def _beyond(begin: float, mean_excess: float, count: int, step: float) -> float:
    """Return the value that any of `count` values above `begin` exceeds with half of DISTURBED_CHANCE.

    A value drawn from an exponential distribution is beyond t means with a chance of (1 + t / count) ** -count, where
    the mean is that of `count` others.
    """
    means = count * (math.exp(math.log(2 * count / DISTURBED_CHANCE) / count) - 1)
    return begin + means * _decay(max(0.0, mean_excess) / step + 1 / count, step)


def _decay(mean_steps: float, step: float) -> float:
    """Return the distance over which a geometric tail of this mean falls by e; that of a fine step is exponential."""
    return step / math.log1p(1 / mean_steps)


def rounding_step(shifts: Reals) -> float:
    """Return the smallest shift that matters: BF16 logits move in steps, beside which float32 rounding is nothing."""
    ordered = np.sort(shifts[shifts > 0])
    return float(ordered[np.searchsorted(np.cumsum(ordered), NEGLIGIBLE * ordered.sum())])


def numeric_limit(shifts: Sequence[Reals], changes: int) -> float | None:
    """Return the largest shift that numerics explain, given the number of changed tokens. None with too few shifts."""
    moved = [request[request > 0] for request in shifts]
    every = np.concatenate([np.empty(0), *moved])
    if len(every) < FEWEST or sum(len(request) > 0 for request in moved) < FEWEST_REQUESTS:
        return None
    step = rounding_step(every)
    begin = float(np.quantile(every, 1 - TAIL))
    over = every >= begin - step / 2
    independent = sum(bool((request >= begin - step / 2).any()) for request in moved)
    steps_beyond = _upper_factor(independent) * (float(np.mean(every[over] - begin)) / step + 1 / independent)
    scale = _decay(steps_beyond, step)
    limit, allowed = begin, CHANCE / max(1, changes) * float(every.mean())
    for _ in range(100):  # a fixed point: the weighted tail beyond the limit is the chance allowed
        limit = begin + scale * max(0.0, math.log((limit + scale) * float(over.mean()) / allowed))
    return max(limit, float(every.max()))


def _upper_factor(count: int) -> float:
    """Return the upper bound of an exponential's mean over its estimate from `count` values."""
    from scipy.special import chdtri

    return float(2 * count / chdtri(2 * count, 1 - CHANCE))


def margin_noise(pairs: Sequence[AnswerPair], changes: int) -> MarginNoise:
    """Measure the noise over all pairs with log-probabilities; in `changes` of them a token changed."""
    shifts = [margin_shifts(pair) for pair in pairs]
    margins = [pair.logprobs[0].margins for pair in pairs if pair.logprobs]
    finite = [margin[np.isfinite(margin)] for margin in margins]
    every = np.concatenate([np.empty(0), *finite])
    smallest = float(np.quantile(every, SMALLEST)) if len(every) else 0.0
    all_shifts = np.concatenate([np.empty(0), *shifts])
    step = rounding_step(all_shifts) if all_shifts.any() else 0.0
    sums = [stretches(request) for request in shifts]
    one = disturbance_limit(_largest(shifts), lambda _: step, smallest)
    several = disturbance_limit(_largest(sums), lambda value: step**2 / 2 / value, math.sqrt(STRETCH) * smallest)
    undisturbed = [
        request
        for request, summed in zip(shifts, sums, strict=True)
        if len(request) and request.max() <= one and summed.max() <= several
    ]
    moved = np.concatenate([np.empty(0), *(request[request > 0] for request in undisturbed)])
    return MarginNoise(
        tokens=sum(map(len, undisturbed)),
        shifted=len(moved),
        requests=len(undisturbed),
        shifted_requests=sum(bool(request.any()) for request in undisturbed),
        step=rounding_step(moved) if len(moved) else 0.0,
        largest=float(moved.max(initial=0.0)),
        limit=numeric_limit(undisturbed, changes),
        smallest_margins=smallest,
        disturbance=one,
        stretch_disturbance=several,
    )


def _largest(requests: Sequence[Reals]) -> Reals:
    return np.array([request.max(initial=0.0) for request in requests])
