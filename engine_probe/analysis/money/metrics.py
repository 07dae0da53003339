"""The metrics of costs, earnings and energy, each declared once."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from engine_probe.analysis.money.run_costs import MILLION, RunCosts
from engine_probe.analysis.money.user_habit import Habit
from engine_probe.analysis.money.work import Work


@dataclass(frozen=True)
class MoneyMetric:
    """A figure of costs or earnings; {} in `unit` stands for the currency."""

    name: str
    title: str
    unit: str
    formula: str
    value: Callable[[RunCosts], float | None]
    per: Callable[[Work], float] | None = None  # what it is divided by, per second


OUTPUT_TOKENS, TOKENS, REQUESTS = map(attrgetter, ("output_tokens_per_s", "tokens_per_s", "requests_per_s"))


def users(costs: RunCosts) -> float | None:
    """Return the number of users by Little's law: requests/s x the time from one request of a user to the next.

    A user who asks every T seconds, but waits longer for an answer, asks again only after it.
    """
    asked, latency = costs.prices.users, costs.work.latency_s
    if asked is None or latency is None:
        return None
    habit = Habit(asked.request_every_s or 0.0, asked.think_s)
    return costs.work.requests_per_s * habit.cycle_seconds(latency)


COST_PER_ITEM = (
    MoneyMetric(
        "cost_per_million_output_tokens",
        "cost per million output tokens",
        "{}",
        "cost per hour / output tokens of answered requests per hour x 1,000,000",
        lambda costs: costs.cost_of(costs.work.output_tokens_per_s, MILLION),
        OUTPUT_TOKENS,
    ),
    MoneyMetric(
        "cost_per_million_tokens",
        "cost per million tokens, input and output",
        "{}",
        "cost per hour / (prompt + output tokens of answered requests per hour) x 1,000,000",
        lambda costs: costs.cost_of(costs.work.tokens_per_s, MILLION),
        TOKENS,
    ),
    MoneyMetric(
        "cost_per_1000_requests",
        "cost per 1,000 requests",
        "{}",
        "cost per hour / answered requests per hour x 1,000",
        lambda costs: costs.cost_of(costs.work.requests_per_s, 1000),
        REQUESTS,
    ),
)
ENERGY = (
    MoneyMetric(
        "joules_per_output_token",
        "energy per output token",
        "J",
        "mean power of the GPUs / output tokens of answered requests per s",
        lambda costs: costs.joules_per(costs.work.output_tokens_per_s),
        OUTPUT_TOKENS,
    ),
    MoneyMetric(
        "joules_per_token",
        "energy per token, input and output",
        "J",
        "mean power of the GPUs / (prompt + output tokens of answered requests per s)",
        lambda costs: costs.joules_per(costs.work.tokens_per_s),
        TOKENS,
    ),
    MoneyMetric(
        "joules_per_request",
        "energy per request",
        "J",
        "mean power of the GPUs / answered requests per s",
        lambda costs: costs.joules_per(costs.work.requests_per_s),
        REQUESTS,
    ),
)
MONEY = (
    *COST_PER_ITEM,
    MoneyMetric(
        "break_even_price",
        "break-even price per million output tokens",
        "{}",
        "(cost - revenue from prompts) per hour / output tokens of answered requests per hour x 1,000,000",
        lambda costs: costs.break_even_price,
        OUTPUT_TOKENS,
    ),
    MoneyMetric(
        "cost_per_hour",
        "cost",
        "{}/h",
        "fixed + variable + (power of the GPUs + host) x overhead x price of energy + bursts",
        lambda costs: costs.cost_per_hour,
    ),
    MoneyMetric(
        "revenue_per_hour",
        "revenue",
        "{}/h",
        "price of a token x tokens of answered requests per hour, output and input each",
        lambda costs: costs.revenue_per_hour,
    ),
    MoneyMetric("profit_per_hour", "profit", "{}/h", "revenue - cost", lambda costs: costs.profit_per_hour),
    *ENERGY,
    MoneyMetric("watts", "power of the GPUs", "W", "energy of the GPUs / time", lambda costs: costs.work.watts),
    MoneyMetric(
        "requests_in_flight",
        "requests in flight",
        "",
        "answered requests per s x mean end-to-end latency (Little's law)",
        lambda costs: None if costs.work.latency_s is None else costs.work.requests_per_s * costs.work.latency_s,
    ),
    MoneyMetric(
        "users",
        "users",
        "",
        "answered requests per s x (latency + think time), or x max(time between requests, latency) (Little's law)",
        users,
    ),
)
