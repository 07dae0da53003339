"""How long a step takes: a sum of terms, each a price for something that the step does."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from random import Random

import msgspec

from engine_probe.engine.twin.step_work import StepWork

STRIDE = (math.sqrt(5) - 1) / 2  # the golden ratio: its multiples, less their whole parts, fill 0 to 1 most evenly
# Name of each term, and what is counted in a step.
TERMS = {
    "step": "each step: launching the model, sampling, the scheduler, the process around it",
    "prompt step": "each step that computes prompts beside or in place of answers",
    "prompt": "each request whose prompt, or a chunk of it, is computed",
    "prompt token": "each token of a prompt",
    "answer token": "each token that continues an answer, and each draft token that is verified",
    "prompt attention": "each pair of a prompt's token and a token that it attends to",
    "answer attention": "each token that an answer's token attends to",
    "padding": "each token that a CUDA graph computes beyond those of the step",
}
# What the host does for a request between two steps, by what it is done for.
REQUEST_TERMS = {
    "arrival": "each request that arrives: reading it, and adding it to the engine",
    "end": "each request that ends: taking its answer from the engine and handing it over",
}
PROMPTS, ANSWERS = "with prompts", "answers alone"  # kinds of steps whose times scatter differently

DeviceAndHost = tuple[int, int]  # nanoseconds


def counts(work: StepWork, graph_sizes: Sequence[int] = ()) -> tuple[int, ...]:
    """Return what a step counts for each term; `graph_sizes` are the tokens of the captured graphs, in order."""
    return (
        1,
        int(work.prompt_tokens > 0),
        work.requests - work.answer_tokens + work.draft_tokens,
        work.prompt_tokens,
        work.answer_tokens,
        work.prompt_pairs,
        work.answer_context,
        padding(work.prompt_tokens + work.answer_tokens, graph_sizes),
    )


def padding(tokens: int, graph_sizes: Sequence[int]) -> int:
    """Return by how many tokens the smallest graph that holds a step exceeds it; 0 beyond the largest graph."""
    place = bisect_left(graph_sizes, tokens)
    return graph_sizes[place] - tokens if place < len(graph_sizes) else 0


class Price(msgspec.Struct, frozen=True):
    """Nanoseconds for one of what a term counts, with half the 95 % interval, and the most that was seen in a step.

    `most` is None where the price holds for any number.
    """

    ns: float
    half_width: float = 0.0
    most: float | None = None


class Spread(msgspec.Struct, frozen=True):
    """A standard deviation of logarithms, and its degrees of freedom."""

    deviation: float
    freedom: float


class Source(msgspec.Struct, frozen=True):
    """One part of derived times: what it is, its formula, and the figures in that with where they come from."""

    part: str
    formula: str
    figures: str


class StepTimes(msgspec.Struct, frozen=True):
    """Prices by the names of `TERMS`, and how far the times of whole recordings lie from their sums.

    With `beside`, a device does two things at the same time, each of which has prices: a step takes the longer one.
    The host's part of a step comes before the device's; with asynchronous scheduling the device meanwhile computes the
    step before, if it works beside the host (`overlaps`), as GPUs do.
    """

    prices: dict[str, Price]
    error: float | None = None  # standard deviation of log(recorded / predicted) over recordings that were left out
    recordings: int = 0  # that were left out, one at a time
    beside: dict[str, Price] | None = None
    host: dict[str, Price] = {}
    overlaps: bool = False
    graph_sizes: tuple[int, ...] = ()  # tokens of the CUDA graphs to which steps are padded
    matrices: tuple[tuple[float, float], ...] = ()  # tokens computed, nanoseconds of all matrix products
    scatter: dict[str, tuple[float, ...]] = {}  # equally likely ratios of single steps' times to the prices' sum
    noise: Spread | None = None  # of the times of whole recordings of the same steps, since one start of the engine
    starts: Spread | None = None  # of all times since one start beside those since others; None: of one start alone
    start_of: tuple[int, ...] = ()  # each recording's start, counted from zero
    errors: dict[str, Spread] = {}  # what a figure's own scatter adds to that
    influence: tuple[tuple[float, ...], ...] = ()  # how each recording moves the sum of device and host prices
    requests: dict[str, Price] = {}  # by the names of REQUEST_TERMS; no part of a step
    sources: tuple[Source, ...] = ()

    def ns(self, work: StepWork) -> int:
        """Return the expected time of a step whose host and device work one after the other."""
        return sum(self.parts(work))

    def parts(self, work: StepWork, ratio: float = 1.0) -> DeviceAndHost:
        found = counts(work, self.graph_sizes)
        took = _sum(self.prices, found)
        if self.beside is not None:
            took = max(took, _sum(self.beside, found))
        if self.matrices:
            took += interpolated(self.matrices, work.prompt_tokens + work.answer_tokens + found[-1])
        return round(took * ratio), round(_sum(self.host, found) * ratio)

    def drawn(self, seed: int = 0) -> Callable[[StepWork], DeviceAndHost]:
        """Return times that scatter as recorded ones do, the same ones for the same seed.

        Each kind of step goes through its ratios in even strides and not by chance, beginning with the median for seed
        zero: else the median of a point with three prompts would be what three draws happened to be.
        """
        if not self.scatter:
            return self.parts
        first = Random(seed).random() if seed else 0.5
        places = dict.fromkeys(self.scatter, first)

        def draw(work: StepWork) -> DeviceAndHost:
            kind = PROMPTS if work.prompt_tokens else ANSWERS
            if kind not in places:
                return self.parts(work)
            ratios, place = self.scatter[kind], places[kind]
            places[kind] = (place + STRIDE) % 1.0
            return self.parts(work, ratios[int(place * len(ratios))])

        return draw


def interpolated(points: Sequence[tuple[float, float]], x: float) -> float:
    """Return the value at x between points in order; the first below them, in proportion to x beyond them."""
    place = bisect_left(points, (x,))
    if place == 0:
        return points[0][1]
    if place == len(points):
        last, value = points[-1]
        return value * x / last
    (low, at_low), (high, at_high) = points[place - 1 : place + 1]
    return at_low + (at_high - at_low) * (x - low) / (high - low)


def _sum(prices: Mapping[str, Price], found: tuple[int, ...]) -> float:
    # A list, because a generator takes half as long again, in every step of a twin.
    return sum([prices[name].ns * count for name, count in zip(TERMS, found, strict=True) if name in prices])
