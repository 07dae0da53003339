"""Which GPUs, how many and how divided among engines, can meet limits on latencies, by what their datasheets allow.

Times of a plan are the least that are possible. So an engine that breaks a limit is surely excluded, and one that does
not may still break it: its number of GPUs and its cost are the least, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine_probe.engine.twin.capacity_plan import CapacityBounds, CapacityPlan


@dataclass(frozen=True)
class LatencyLimits:
    """The longest times of a request in seconds. None: not limited."""

    ttft: float | None = None
    tpot: float | None = None
    e2el: float | None = None

    def allow(self, plan: CapacityPlan, bounds: CapacityBounds) -> bool:
        """Return whether the least times are within the limits."""
        whole = bounds.prompt_seconds + (plan.output_len - 1) * bounds.step_seconds
        times = ((self.ttft, bounds.prompt_seconds), (self.tpot, bounds.step_seconds), (self.e2el, whole))
        return all(limit is None or least <= limit for limit, least in times)


@dataclass(frozen=True)
class GpuOffer:
    """What one GPU costs and draws. None: not known."""

    per_hour: float | None = None
    watts: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Candidate:
    """Engines of one kind that together answer the demand."""

    plan: CapacityPlan
    bounds: CapacityBounds | None  # of one engine, with the most requests in flight within the limits; None: none are
    engines: int
    offer: GpuOffer

    @property
    def gpus(self) -> int:
        return self.engines * self.plan.gpus

    @property
    def per_hour(self) -> float | None:
        return None if self.offer.per_hour is None else self.gpus * self.offer.per_hour

    @property
    def requests_per_s(self) -> float:
        """Return the most requests that all of it answers in a second."""
        return 0.0 if self.bounds is None else self.engines * self.bounds.output_tokens_per_s / self.plan.output_len

    @property
    def cost_of_million(self) -> float | None:
        """Return the least cost of a million output tokens, at full use."""
        if self.offer.per_hour is None or self.bounds is None:
            return None
        return self.plan.gpus * self.offer.per_hour / 3600 / self.bounds.output_tokens_per_s * 1e6

    @property
    def joules_per_token(self) -> float | None:
        """Return the least energy of the GPUs for an output token, at full use."""
        if self.offer.watts is None or self.bounds is None:
            return None
        return self.plan.gpus * self.offer.watts / self.bounds.output_tokens_per_s


def candidate(plan: CapacityPlan, limits: LatencyLimits, demand: float | None, offer: GpuOffer) -> Candidate:
    """Return as many engines as answer so many requests in a second; one engine without a demand."""
    bounds = most_within(plan, limits)
    if bounds is None:
        return Candidate(plan, None, 0, offer)
    each = bounds.output_tokens_per_s / plan.output_len
    return Candidate(plan, bounds, 1 if demand is None else max(1, math.ceil(demand / each - 1e-9)), offer)


def most_within(plan: CapacityPlan, limits: LatencyLimits) -> CapacityBounds | None:
    """Return the bounds with the most requests in flight that the limits allow. None if they allow none."""
    low, high = 0, plan.concurrency  # times grow with the requests in flight
    while low < high:
        middle = (low + high + 1) // 2
        if limits.allow(plan, plan.bounds(middle)):
            low = middle
        else:
            high = middle - 1
    return plan.bounds(low) if low else None


def cheapest(candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the cheapest of those that have a price, or else that of the fewest GPUs. None if none is possible."""
    possible = [each for each in candidates if each.bounds is not None]
    priced = [each for each in possible if each.per_hour is not None]
    return min(priced or possible, key=lambda each: (each.per_hour or 0.0, each.gpus), default=None)
