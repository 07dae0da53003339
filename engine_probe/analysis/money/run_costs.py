"""The work of one run, and its costs and earnings under a price list.

revenue = price per token x tokens/s x time; cost = fixed + energy; profit = revenue - cost. Tokens are those of
answered requests: an aborted answer earns nothing, although its work is in the cost.
"""

from dataclasses import dataclass
from typing import Any

from engine_probe.analysis.money.prices import Prices
from engine_probe.analysis.run.energy import Energy
from engine_probe.analysis.run.summary import Summary
from engine_probe.engine.parallelism import recorded_rank_count

PER_HOUR = 3600.0
MILLION = 1e6


@dataclass(frozen=True)
class Work:
    """The work of one run, and the GPUs and energy that it took."""

    load: float
    output_tokens_per_s: float  # of answered requests
    input_tokens_per_s: float
    requests_per_s: float
    latency_s: float | None  # mean end-to-end latency
    cards: int | None  # None if not recorded
    energy: Energy | str
    started_ns: int = 0  # by the wall clock; 0 if not known

    @property
    def watts(self) -> float | None:
        return None if isinstance(self.energy, str) else self.energy.watts


def work(load: float, summary: Summary, facts: dict[str, Any], energy: Energy | str) -> Work:
    (latency,) = (each.mean_ns for each in summary.latencies if each.name == "E2EL")
    return Work(
        load=load,
        output_tokens_per_s=summary.answer_tokens / summary.seconds,
        input_tokens_per_s=summary.prompt_tokens / summary.seconds,
        requests_per_s=summary.requests_per_s,
        latency_s=None if latency is None else latency / 1e9,
        cards=recorded_rank_count(facts),
        energy=energy,
        started_ns=facts["clock"]["wall_ns"],
    )


@dataclass(frozen=True)
class RunCosts:
    """The costs and earnings of one run; a figure is None if a part of it is not known."""

    work: Work
    prices: Prices
    with_energy: bool  # whether energy is counted, which takes the energy of all runs of a curve

    @property
    def fixed_per_hour(self) -> float | None:
        if self.work.cards is None and any(item.per_card for item in self.prices.fixed):
            return None
        times = ((item, (self.work.cards or 1) if item.per_card else 1) for item in self.prices.fixed)
        return sum(item.hourly(self.prices.hours_per_month) * count for item, count in times)

    @property
    def energy_per_hour(self) -> float | None:
        power = self.prices.power
        if power is None or not self.with_energy:
            return 0.0
        if self.work.watts is None:
            return None
        return (self.work.watts + power.host_watts) / 1000 * power.overhead * power.per_kwh

    @property
    def cost_per_hour(self) -> float | None:
        if not self.prices.fixed and not (self.prices.power and self.with_energy):
            return None
        parts = (self.fixed_per_hour, self.energy_per_hour)
        return None if parts[0] is None or parts[1] is None else parts[0] + parts[1]

    @property
    def revenue_per_hour(self) -> float:
        sold, made = self.prices.sold, self.work
        paid = (
            sold.per_million_output_tokens * made.output_tokens_per_s
            + sold.per_million_input_tokens * made.input_tokens_per_s
        )
        return paid / MILLION * PER_HOUR

    @property
    def profit_per_hour(self) -> float | None:
        return None if self.cost_per_hour is None else self.revenue_per_hour - self.cost_per_hour

    def cost_of(self, per_s: float, many: float) -> float | None:
        """Return the cost of `many` items made at `per_s`."""
        return self.cost_per_hour / (per_s * PER_HOUR) * many if per_s and self.cost_per_hour is not None else None
