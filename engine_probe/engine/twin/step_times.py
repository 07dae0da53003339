"""How long a step takes: a sum of terms, each a price for something that the step does."""

from __future__ import annotations

import msgspec

from engine_probe.engine.twin.step_work import StepWork

# Name of each term, and what is counted in a step.
TERMS = {
    "step": "each step: launching the model, sampling, the scheduler, the process around it",
    "prompt step": "each step that computes prompts beside or in place of answers",
    "prompt": "each request whose prompt, or a chunk of it, is computed",
    "prompt token": "each token of a prompt",
    "answer token": "each token that continues an answer",
    "prompt attention": "each pair of a prompt's token and a token that it attends to",
    "answer attention": "each token that an answer's token attends to",
}


def counts(work: StepWork) -> tuple[int, ...]:
    """Return what a step counts for each term."""
    return (
        1,
        int(work.prompt_tokens > 0),
        work.requests - work.answer_tokens,
        work.prompt_tokens,
        work.answer_tokens,
        work.prompt_pairs,
        work.answer_context,
    )


class Price(msgspec.Struct, frozen=True):
    """Nanoseconds for one of what a term counts, with half the 95 % interval, and the most that was seen in a step.

    `most` is None where the price holds for any number.
    """

    ns: float
    half_width: float = 0.0
    most: float | None = None


class StepTimes(msgspec.Struct, frozen=True):
    """Prices by the names of `TERMS`, and how far the times of whole recordings lie from their sums.

    With `beside`, a device does two things at the same time, each of which has prices: a step takes the longer one.
    """

    prices: dict[str, Price]
    error: float | None = None  # standard deviation of log(recorded / predicted) over recordings that were left out
    recordings: int = 0  # that were left out, one at a time
    beside: dict[str, Price] | None = None

    def ns(self, work: StepWork) -> int:
        found = counts(work)
        took = _sum(self.prices, found)
        return round(took if self.beside is None else max(took, _sum(self.beside, found)))


def _sum(prices: dict[str, Price], found: tuple[int, ...]) -> float:
    return sum(prices[name].ns * count for name, count in zip(TERMS, found, strict=True) if name in prices)
