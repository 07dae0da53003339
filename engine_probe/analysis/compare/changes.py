"""What changed from one measurement to another, and between several occasions whether the change is significant.

The repeats of one sweep share what the machine did during that sweep. A change from one sweep to another has therefore
an interval and no verdict. Between several sweeps on each side Welch's t-test judges every metric, corrected for the
number of metrics (Holm). "Not shown to differ" is no proof of equality. A bound of `--fail-if` is one planned test and
is not corrected (`gates.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from statistics import fmean
from typing import Literal

import numpy as np

from engine_probe.analysis.compare.perplexity import Perplexity, PerplexityChange
from engine_probe.analysis.money.metrics import COST_PER_ITEM, ENERGY, MoneyMetric
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.statistics.student import SIGNIFICANT, Interval, quantile, two_sided_p, welch

FEWEST_BEFORE_ONE = 3  # occasions, whose scatter tells whether a single further one is like them

Verdict = Literal["better", "worse", "not shown to differ", "not tested"]
Better = Literal["more", "less"]
SUCCESS_RATE = "success_rate"
IN_PROPORTION = ("tokens/s", "requests/s", "ms", "J")  # units of metrics whose noise is in proportion to them


@dataclass(frozen=True)
class Metric:
    name: str  # in JSON, in tables and in bounds of --fail-if
    title: str  # in reports
    unit: str
    better: Better
    formula: str
    value: Callable[[Summary], float | None]

    @property
    def in_proportion(self) -> bool:
        """Return whether its noise is in proportion to it, as that of rates and times is."""
        return self.unit in IN_PROPORTION or self in COST_METRICS


def figure(name: str, title: str, unit: str, better: Better, formula: str) -> Metric:
    """Return a metric that a summary has under the same name."""
    return Metric(name, title, unit, better, formula, attrgetter(name))


def percentile(latency: str, percent: int) -> Metric:
    title = f"{latency}, {'median' if percent == 50 else f'p{percent}'}"

    def value(summary: Summary) -> float | None:
        ns = summary.latency(latency).percentiles_ns[percent]
        return None if ns is None else ns / 1e6

    return Metric(f"{latency.lower()}_p{percent}_ms", title, "ms", "less", f"p{percent} of {latency}", value)


def of_costs(metric: MoneyMetric) -> Metric:
    """Return a figure of costs or energy as a metric of a run: the former are known with a price list."""
    unit = metric.unit.format("")
    return Metric(metric.name, metric.title, unit, "less", metric.formula, lambda run: metric.value(run.costs))


METRICS = (
    figure("output_tokens_per_s", "output tokens/s", "tokens/s", "more", "output tokens / time"),
    figure(
        "highest_output_tokens_per_s",
        "highest output tokens/s",
        "tokens/s",
        "more",
        "most output tokens in any 0.2 s of the run / 0.2 s, a step's tokens spread evenly over it",
    ),
    figure("total_tokens_per_s", "total tokens/s", "tokens/s", "more", "(prompt + output tokens) / time"),
    figure("requests_per_s", "requests/s", "requests/s", "more", "answered requests / time"),
    Metric(
        SUCCESS_RATE,
        "success rate",
        "",
        "more",
        "answered / (answered + aborted past their deadline + failed)",
        lambda run: run.success.rate if run.success else None,
    ),
    Metric(
        "goodput_requests_per_s",
        "goodput, requests/s",
        "requests/s",
        "more",
        "requests that met every limit / time",
        lambda run: run.goodput.requests_per_s if run.goodput else None,
    ),
    Metric(
        "goodput_share",
        "requests within all limits",
        "",
        "more",
        "requests that met every limit / requests judged",
        lambda run: run.goodput.share if run.goodput else None,
    ),
    *(percentile(name, percent) for name in ("TTFT", "TPOT", "ITL", "E2EL") for percent in (50, 99)),
    Metric(
        "prefix_cache_share",
        "prefix cache hit rate",
        "",
        "more",
        "prompt tokens found in the prefix cache when a request was first admitted / prompt tokens",
        lambda run: run.prefix_cache.share if run.prefix_cache else None,
    ),
    figure("peak_kv_share", "KV blocks in use, peak", "", "less", "peak KV blocks in use / all KV blocks"),
    figure("preemptions", "preemptions", "", "less", "how often requests were preempted"),
    figure("recomputed_share", "recomputed tokens", "", "less", "recomputed tokens / scheduled tokens"),
    *map(of_costs, ENERGY),
)


COST_METRICS = tuple(map(of_costs, COST_PER_ITEM))
COMPARED = (*METRICS, *COST_METRICS)

Occasions = Sequence[Sequence[Summary]]  # the repeats of one point, by occasion

PERPLEXITY = Metric(
    "perplexity",
    "perplexity",
    "",
    "less",
    "exp(mean of -ln p over scored tokens)",
    lambda _: None,  # a property of an engine and a text, not of a run
)


@dataclass(frozen=True)
class Moments:
    """When measurements were taken: the earlier ones, grouped by engine, and the two that are compared."""

    earlier: tuple[tuple[float, ...], ...]
    before: float
    after: float


@dataclass(frozen=True)
class Change:
    """The change of one metric at one point, with all repeats or occasions before and after."""

    metric: Metric
    old: tuple[float, ...]
    new: tuple[float, ...]
    p: float | None  # None unless it is tested; `corrected` corrects it
    interval: Interval | None = None  # of the difference, not corrected
    paired: PerplexityChange | None = None  # the pairs that judged the change, instead of occasions
    earlier: tuple[tuple[float, ...], ...] = ()  # earlier occasions that showed the drift, those of one engine together
    moments: Moments | None = None  # of these, and of the two that are compared

    @property
    def before(self) -> float:
        return fmean(self.old)

    @property
    def after(self) -> float:
        return fmean(self.new)

    @property
    def repeats(self) -> tuple[int, int]:
        return len(self.old), len(self.new)

    @property
    def relative_interval(self) -> tuple[float, float] | None:
        """Return the interval as a share of the value before."""
        if self.interval is None or not self.before:
            return None
        low, high = sorted(end / self.before for end in self.interval)
        return low, high

    @property
    def relative(self) -> float | None:
        """Return the change as a share of the value before. None if that is zero."""
        return self.after / self.before - 1 if self.before else (0.0 if self.after == self.before else None)

    @property
    def verdict(self) -> Verdict:
        if self.p is None:
            return "not tested"
        if self.p >= SIGNIFICANT:
            return "not shown to differ"
        return "better" if self._rises == (self.metric.better == "more") else "worse"

    @property
    def direction(self) -> Literal["higher", "lower", "same"]:
        """Where it went, whether or not that is shown to be more than chance."""
        if self.after == self.before:
            return "same"
        return "higher" if self._rises else "lower"

    @property
    def is_within_drift(self) -> bool:
        """Return whether the drift that earlier occasions showed is larger than the change."""
        return bool(self.earlier) and self.interval is not None and self.interval[0] <= 0 <= self.interval[1]

    @property
    def _rises(self) -> bool:
        return self.after > self.before


def changes(before: Sequence[Summary], after: Sequence[Summary]) -> list[Change]:
    """Return the change of every metric that all runs of both sides have, with the interval within the two sweeps."""
    alone = changes_between([[run] for run in before], [[run] for run in after])
    return [replace(change, p=None) for change in alone]


def changes_between(before: Occasions, after: Occasions) -> list[Change]:
    """Return the changes between occasions: the repeats of an occasion count once, as their mean."""
    found = []
    for metric in COMPARED:
        old, new = occasion_means(metric, before), occasion_means(metric, after)
        if metric.name == SUCCESS_RATE and {*(old or ()), *(new or ())} == {1.0}:
            continue  # nothing failed on either side, which needs no words
        if old is not None and new is not None:
            found.append(Change(metric, old, new, *difference(old, new)))
    return found


def occasion_means(metric: Metric, occasions: Occasions) -> tuple[float, ...] | None:
    """Return the mean over the repeats of each occasion. None if a run lacks the metric."""
    means = []
    for runs in occasions:
        values = [value for run in runs if (value := metric.value(run)) is not None]
        if len(values) < len(runs) or not values:
            return None
        means.append(fmean(values))
    return tuple(means) or None


def perplexity_change(before: Perplexity, after: Perplexity, paired: PerplexityChange) -> Change:
    """Return the change of perplexity, judged by the windows, which are the same on both sides."""
    ends = paired.interval
    interval = None if ends is None else (before.value * ends[0], before.value * ends[1])
    return Change(PERPLEXITY, (before.value,), (after.value,), paired.p(), interval, paired=paired)


def shared_metrics(runs: Sequence[Summary]) -> set[str]:
    """Return the names of the metrics that all these runs have."""
    return {metric.name for metric in COMPARED if all(metric.value(run) is not None for run in runs)}


def difference(old: Sequence[float], new: Sequence[float]) -> tuple[float | None, Interval | None]:
    """Return the two-sided p of Welch's test and the interval of the difference. None without repeats on both sides.

    Values that are the same in all repeats of a side, as small counts often are, do not show how they vary. If the two
    sides differ, p is then that of the permutation test: how often such values fall apart so by chance.
    """
    if len(old) < 2 or len(new) < 2:
        return None, None
    variances = (variance_of_mean(old), variance_of_mean(new))
    distance = float(np.mean(new) - np.mean(old))
    if not any(variances):
        return 2 / math.comb(len(old) + len(new), len(old)) if distance else 1.0, None
    return welch(distance, variances, (len(old) - 1, len(new) - 1))


def tested(old: Sequence[float], new: Sequence[float]) -> tuple[float | None, Interval | None]:
    """Return p and interval of a difference between occasions, also of a single new one against several before."""
    if len(new) > 1 or len(old) < FEWEST_BEFORE_ONE:
        return difference(old, new)
    error = math.sqrt(float(np.var(old, ddof=1)) * (1 + 1 / len(old)))
    distance, freedom = float(new[0] - np.mean(old)), len(old) - 1
    if not error:
        return None, None  # they do not show how the figure varies
    half = quantile(freedom) * error
    return two_sided_p(distance, error, freedom), (distance - half, distance + half)


def variance_of_mean(values: Sequence[float]) -> float:
    return float(np.var(values, ddof=1)) / len(values)
