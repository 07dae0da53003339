"""What changed from one measurement to another, and whether repeats say that it is real.

One run each shows a change and cannot say whether the next run would show it again; that is said, not guessed. With
repeats on both sides Welch's t-test judges every metric, corrected for how many are judged (Holm). What it does not
reject is not shown to differ, which is no proof that it does not. A bound that somebody set beforehand is one planned
test and is corrected for nothing (`gates.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engine_probe.analysis.compare.perplexity import PairedChange, Perplexity
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.statistics.rank_tests import holm
from engine_probe.analysis.statistics.repeats import BothNoises

SIGNIFICANT = 0.05

Verdict = Literal["better", "worse", "not shown to differ", "no repeats"]


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    better: Literal["more", "less"]
    formula: str
    value: Callable[[Summary], float | None]


def percentile(latency: str, percent: int) -> Callable[[Summary], float | None]:
    def value(summary: Summary) -> float | None:
        (found,) = (each for each in summary.latencies if each.name == latency)
        ns = found.percentiles_ns[percent]
        return None if ns is None else ns / 1e6

    return value


METRICS = (
    Metric("output_tokens_per_s", "tokens/s", "more", "output tokens / time", lambda run: run.output_tokens_per_s),
    Metric("total_tokens_per_s", "tokens/s", "more", "prompts and answers / time", lambda run: run.total_tokens_per_s),
    Metric("requests_per_s", "requests/s", "more", "answered requests / time", lambda run: run.requests_per_s),
    Metric(
        "goodput_requests_per_s",
        "requests/s",
        "more",
        "requests that kept every limit / time",
        lambda run: run.goodput.requests_per_s if run.goodput else None,
    ),
    Metric(
        "goodput_share",
        "",
        "more",
        "requests that kept every limit / requests judged",
        lambda run: run.goodput.share if run.goodput else None,
    ),
    *(
        Metric(f"{name.lower()}_p{percent}_ms", "ms", "less", f"p{percent} of {name}", percentile(name, percent))
        for name in ("TTFT", "TPOT", "ITL", "E2EL")
        for percent in (50, 99)
    ),
    Metric(
        "prefix_cache_share",
        "",
        "more",
        "prompt tokens found in the prefix cache when a request was first admitted / prompt tokens",
        lambda run: run.prefix_cache.share if run.prefix_cache else None,
    ),
    Metric("peak_kv_share", "", "less", "KV blocks in use at most / all", lambda run: run.peak_kv_share),
    Metric("preemptions", "", "less", "how often requests were preempted", lambda run: run.preemptions),
    Metric("recomputed_share", "", "less", "tokens computed twice / scheduled", lambda run: run.recomputed_share),
)

PERPLEXITY = Metric(
    "perplexity",
    "",
    "less",
    "exp(mean of -ln p over scored tokens)",
    lambda _: None,  # of an engine and a text, not of a run
)


@dataclass(frozen=True)
class Change:
    """One metric of one point, with every repeat before and after."""

    metric: Metric
    old: tuple[float, ...]
    new: tuple[float, ...]
    p: float | None  # None with one run on a side; corrected once `corrected` has seen all
    interval: tuple[float, float] | None = None  # of the difference, at 95 %, this one alone; None with one run
    noise: BothNoises | None = None  # of all points of its curve, where that judged and not its own repeats alone
    paired: PairedChange | None = None  # where both sides answered the same questions: that judges, not the repeats

    @property
    def before(self) -> float:
        return float(np.mean(self.old))

    @property
    def after(self) -> float:
        return float(np.mean(self.new))

    @property
    def repeats(self) -> tuple[int, int]:
        return len(self.old), len(self.new)

    @property
    def relative_interval(self) -> tuple[float, float] | None:
        """As a share of what it was before."""
        if self.interval is None or not self.before:
            return None
        low, high = sorted(end / self.before for end in self.interval)
        return low, high

    @property
    def relative(self) -> float | None:
        """None where there is nothing to relate it to."""
        return self.after / self.before - 1 if self.before else (0.0 if self.after == self.before else None)

    @property
    def exact(self) -> bool:
        """Repeats are alike on both sides: a count that follows from what was asked, which no test has to judge."""
        alike = len({*self.old}) == len({*self.new}) == 1 and min(self.repeats) > 1
        return alike and self.noise is None and self.paired is None

    @property
    def verdict(self) -> Verdict:
        if self.p is None:
            return "no repeats"
        if self.p >= SIGNIFICANT:
            return "not shown to differ"
        return "better" if (self.after > self.before) == (self.metric.better == "more") else "worse"


def changes(before: Sequence[Summary], after: Sequence[Summary]) -> list[Change]:
    """Of every metric that all runs of both sides have."""
    found = []
    for metric in METRICS:
        old, new = (
            tuple(value for run in side if (value := metric.value(run)) is not None) for side in (before, after)
        )
        if 0 < len(old) == len(before) and 0 < len(new) == len(after):
            found.append(Change(metric, old, new, *difference(old, new)))
    return found


def perplexity_change(before: Perplexity, after: Perplexity, paired: PairedChange) -> Change:
    """Judged by the windows, which are the same on both sides."""
    ends = paired.interval
    interval = None if ends is None else (before.value * ends[0], before.value * ends[1])
    return Change(PERPLEXITY, (before.value,), (after.value,), paired.p(), interval, paired=paired)


def known(runs: Sequence[Summary]) -> set[str]:
    """The metrics that every one of these runs has."""
    return {metric.name for metric in METRICS if all(metric.value(run) is not None for run in runs)}


def welch(old: Sequence[float], new: Sequence[float]) -> float | None:
    """Two-sided p of Welch's t-test; None without repeats on both sides."""
    return difference(old, new)[0]


def difference(old: Sequence[float], new: Sequence[float]) -> tuple[float | None, tuple[float, float] | None]:
    """Two-sided p of Welch's test, and the interval at 95 % of the difference that belongs to it."""
    if len(old) < 2 or len(new) < 2:
        return None, None
    from scipy.special import stdtr, stdtrit  # what scipy.stats asks, without its long import

    errors = [float(np.var(side, ddof=1)) / len(side) for side in (old, new)]
    distance, error = float(np.mean(new) - np.mean(old)), math.sqrt(sum(errors))
    if not error:
        return 0.0 if distance else 1.0, (distance, distance)
    freedom = error**4 / sum(part**2 / (len(side) - 1) for part, side in zip(errors, (old, new), strict=True))
    half = float(stdtrit(freedom, 1 - SIGNIFICANT / 2)) * error
    return float(2 * stdtr(freedom, -abs(distance) / error)), (distance - half, distance + half)


def corrected(found: Sequence[Change]) -> list[Change]:
    """Holm, over all that have a p."""
    judged = [index for index, each in enumerate(found) if each.p is not None]
    result = list(found)
    for index, p in zip(judged, holm([found[index].p or 0.0 for index in judged]), strict=True):
        result[index] = replace(found[index], p=p)
    return result
