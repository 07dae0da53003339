"""Comparisons of hardware: more GPUs against fewer at the same load, and offers against each other by demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

HOURLY_MINUTES = 60.0
MOST_ENGINES = 16  # of one offer


@dataclass(frozen=True)
class More:
    """An engine with more GPUs against one with fewer, at one load."""

    load: float
    speedup: float  # throughput with more / with fewer
    cost: float | None  # cost with more / with fewer; None without prices
    engines: float | None  # throughput with more / of several small engines with as many GPUs, sharing the load evenly

    @property
    def pays(self) -> bool | None:
        """Return whether a token of the larger engine is cheaper."""
        return None if self.cost is None else self.speedup > self.cost


def more_cards(
    fewer: Mapping[float, float],
    more: Mapping[float, float],
    times: float,
    costs: tuple[Mapping[float, float | None], Mapping[float, float | None]],
) -> list[More]:
    """Compare two engines by throughput and cost per hour at each load; the larger has `times` as many GPUs.

    Several small engines share nothing, so their throughput is derived from one of them at its share of the load, if
    that was measured.
    """
    found = []
    for load in sorted(fewer.keys() & more.keys()):
        cheap, dear = (cost.get(load) for cost in costs)
        alone = fewer.get(load / times) if times == int(times) else None
        found.append(
            More(
                load=load,
                speedup=more[load] / fewer[load],
                cost=dear / cheap if cheap and dear is not None else None,
                engines=more[load] / (times * alone) if alone else None,
            )
        )
    return found


@dataclass(frozen=True)
class Offered:
    """An offer, and the request rate that one engine on it sustains."""

    name: str
    per_month: float
    requests_per_minute: float | None
    how: str  # how the rate is known, or why it is not

    def per_1000_requests(self, hours_per_month: float) -> float | None:
        """Return the cost of 1,000 requests at full use."""
        if self.requests_per_minute is None:
            return None
        return 1000 * self.per_month / (self.requests_per_minute * HOURLY_MINUTES * hours_per_month)

    def must_sustain(self, others: Sequence[Self]) -> float | None:
        """Return the requests per minute above which it is cheaper per request than the best of the others."""
        prices = [each.per_month / each.requests_per_minute for each in others if each.requests_per_minute]
        return self.per_month / min(prices) if prices and min(prices) > 0 else None


@dataclass(frozen=True)
class Step:
    """The number of engines on one offer that is cheapest up to a demand."""

    up_to_per_minute: float
    name: str
    count: int
    per_month: float

    @property
    def words(self) -> str:
        return self.name if self.count == 1 else f"{self.count} × {self.name}"


def cheapest(offered: Sequence[Offered]) -> list[Step]:
    """Return the cheapest choice by demand, of engines on one offer, up to twice the strongest engine's rate."""
    rated = [(offer, offer.requests_per_minute) for offer in offered if offer.requests_per_minute]
    if not rated:
        return []
    end = 2 * max(rate for _, rate in rated)
    steps = [
        Step(rate * count, offer.name, count, offer.per_month * count)
        for offer, rate in rated
        for count in range(1, MOST_ENGINES + 1)
    ]
    kept: list[Step] = []
    for step in sorted(steps, key=lambda step: (step.per_month, -step.up_to_per_minute)):
        if not kept or (step.up_to_per_minute > kept[-1].up_to_per_minute and kept[-1].up_to_per_minute < end):
            kept.append(step)
    return kept
