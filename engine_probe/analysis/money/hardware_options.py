"""Which hardware for which demand: cards against cards at the same load, and things to rent against one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOURLY_MINUTES = 60.0
MOST_ENGINES = 16  # of one kind, in a plan


@dataclass(frozen=True)
class More:
    """An engine of more cards against one of fewer, at one load."""

    load: float
    speedup: float  # throughput of the more / of the fewer
    cost: float | None  # cost of the more / of the fewer; None without prices
    engines: float | None  # throughput of the more / of as many small engines as its cards make, the load shared evenly

    @property
    def pays(self) -> bool | None:
        """Whether a token of the larger engine is the cheaper one."""
        return None if self.cost is None else self.speedup > self.cost


def more_cards(
    fewer: Mapping[float, float],
    more: Mapping[float, float],
    times: float,
    costs: tuple[Mapping[float, float | None], Mapping[float, float | None]],
) -> list[More]:
    """Throughput by load of each, how many times the cards, and cost per hour by load of each.

    Several small engines share nothing, so what they give together is derived from one of them at its share of the
    load, where that was measured.
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
    """Something to rent, and what one of it sustains."""

    name: str
    per_month: float
    requests_per_minute: float | None
    how: str  # from what that is known, or why not

    def per_1000_requests(self, hours_per_month: float) -> float | None:
        """Used to the full."""
        if self.requests_per_minute is None:
            return None
        return 1000 * self.per_month / (self.requests_per_minute * HOURLY_MINUTES * hours_per_month)

    def must_sustain(self, others: Sequence[Offered]) -> float | None:
        """Requests per minute from which on it is cheaper per request than the best of the others."""
        prices = [each.per_month / each.requests_per_minute for each in others if each.requests_per_minute]
        return self.per_month / min(prices) if prices and min(prices) > 0 else None


@dataclass(frozen=True)
class Step:
    """Up to this demand so many of this are the cheapest that hold it."""

    up_to_per_minute: float
    name: str
    count: int
    per_month: float


def cheapest(offered: Sequence[Offered]) -> list[Step]:
    """By demand, engines of one kind side by side; up to what the strongest kind holds with several engines."""
    known = [(each, each.requests_per_minute) for each in offered if each.requests_per_minute]
    if not known:
        return []
    end = 2 * max(rate for _, rate in known)
    steps = [
        Step(rate * count, each.name, count, each.per_month * count)
        for each, rate in known
        for count in range(1, MOST_ENGINES + 1)
    ]
    kept: list[Step] = []
    for step in sorted(steps, key=lambda step: (step.per_month, -step.up_to_per_minute)):
        if not kept or (step.up_to_per_minute > kept[-1].up_to_per_minute and kept[-1].up_to_per_minute < end):
            kept.append(step)
    return kept
