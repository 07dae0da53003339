"""Lengths of prompts and answers: a number of tokens, or a distribution between limits."""

import math
from random import Random
from typing import Annotated

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about

MOST_TOKENS = 2**24  # of a prompt or answer in a file; the longest context windows are 10 million
Positive = Annotated[int, msgspec.Meta(ge=1)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]
Tokens = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Mean = Annotated[float, msgspec.Meta(gt=1, le=1e9)]
Sigma = Annotated[float, msgspec.Meta(gt=0, le=50)]  # exp() of a draw eight sigmas out is still finite


class DescriptionError(InputError, ValueError):
    """Raised for an impossible workload; it is a ValueError, so that msgspec adds the place in the file."""


class Uniform(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="uniform"):
    """Uniformly distributed from `low` to `high`."""

    low: Annotated[Positive, about("Shortest length, in tokens.", 16)]
    high: Annotated[Positive, about("Longest length, in tokens.", 512)]

    def __post_init__(self) -> None:
        check_limits(self.low, self.high)


class Normal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="normal"):
    """Normally distributed, rounded to whole tokens and cut to the limits."""

    mean: Annotated[Tokens, about("Mean length, in tokens.", 128.0)]
    deviation: Annotated[Tokens, about("Standard deviation, in tokens.", 32.0)]
    high: Annotated[Positive, about("Longer draws are cut to this.", 512)]
    low: Annotated[Positive, about("Shorter draws are raised to this.", 16)] = 1

    def __post_init__(self) -> None:
        check_limits(self.low, self.high)


class Lognormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="lognormal"):
    """Half below the median and a long tail above it, rounded to whole tokens and cut to the limits."""

    median: Annotated[Tokens, about("Half of the lengths are below this many tokens.", 128.0)]
    sigma: Annotated[Sigma, about("Standard deviation of the logarithm of the length.", 0.8)]
    high: Annotated[Positive, about("Longer draws are cut to this.", 2048)]
    low: Annotated[Positive, about("Shorter draws are raised to this.", 16)] = 1

    def __post_init__(self) -> None:
        check_limits(self.low, self.high)


class Geometric(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="geometric"):
    """Ends after each token with the same probability, as a model that may stop anywhere; cut to the limits."""

    mean: Annotated[Mean, about("Mean length before the cut, in tokens: an answer ends with probability 1/mean.", 700)]
    high: Annotated[Positive, about("Longer draws are cut to this, as by max_tokens.", 512)]
    low: Annotated[Positive, about("Shorter draws are raised to this.", 16)] = 1

    def __post_init__(self) -> None:
        check_limits(self.low, self.high)


Length = Positive | Uniform | Normal | Lognormal | Geometric


def check_limits(low: int, high: int) -> None:
    if low > high:
        raise DescriptionError(f"low = {low} is above high = {high}: exchange them")


class Lengths:
    """Draws lengths, and counts those that the limits changed."""

    def __init__(self, length: Length, chance: Random) -> None:
        self._length, self._chance = length, chance
        self.drawn = self.clipped = 0

    def draw(self) -> int:
        self.drawn += 1
        match self._length:
            case Uniform(low, high):
                return self._chance.randint(low, high)
            case Normal(mean, deviation, high, low):
                return self._clip(self._chance.gauss(mean, deviation), low, high)
            case Lognormal(median, sigma, high, low):
                return self._clip(math.exp(self._chance.gauss(math.log(median), sigma)), low, high)
            case Geometric(mean, high, low):
                drawn = 1 + int(math.log1p(-self._chance.random()) / math.log1p(-1 / mean))
                return self._clip(drawn, low, high)
            case fixed:
                return fixed

    def _clip(self, drawn: float, low: int, high: int) -> int:
        length = min(max(drawn, low), high)
        self.clipped += length != drawn
        return round(length)

    def notes(self, name: str) -> list[str]:
        """Say how many lengths were clipped; nothing if none were."""
        if not self.clipped:
            return []
        assert not isinstance(self._length, int)
        limits = f"{self._length.low} to {self._length.high}"
        return [f"{self.clipped} of {self.drawn} drawn {name} lay outside {limits} tokens and were clipped"]
