"""The prices of a step's terms, fitted to recorded steps.

Every step's time, from the end of the step before to its own end, is a sum of non-negative prices times counts. The fit
minimises relative absolute errors, so that neither a stall nor the long steps decide it. Then the prices of steps with
prompts and of steps without are scaled to the recorded sums, because predictions add steps up.

How wrong a prediction is comes from recordings that were left out: each is predicted from the others. One recording is
divided into stretches for that, which can tell less: they share its machine and its moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine_probe.analysis.statistics.student import quantile
from engine_probe.analysis.step.attention_work import attended, decode_contexts
from engine_probe.analysis.step.bottleneck import idle_gaps
from engine_probe.analysis.step.operators import profiled_span, profiled_steps
from engine_probe.analysis.step.step_time import busy_ns
from engine_probe.engine.twin.step_times import TERMS, Price, StepTimes
from engine_probe.errors import InputError

Reals = npt.NDArray[np.float64]

FEWEST_STEPS = 200
STRETCHES = 10  # of a single recording
FITS = 12  # each weights a step less the farther it lay from the fit before
STALL = 10.0  # a step that takes so many times what it should is counted as that many


@dataclass(frozen=True, eq=False)
class StepSample:
    """Steps of one recording: a row of counts in the order of TERMS for each, and its time."""

    counts: Reals
    ns: Reals

    def __len__(self) -> int:
        return len(self.ns)

    def stretches(self, number: int) -> list[StepSample]:
        pairs = zip(np.array_split(self.counts, number), np.array_split(self.ns, number), strict=True)
        return [StepSample(counts, ns) for counts, ns in pairs]


def step_sample(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table) -> StepSample:
    """Return what each step counted, and its time without the idle time before it.

    Steps without tokens are left out, and those that torch's profiler slowed down.
    Where several chunks of prompts share a step, their attention is only known within bounds: it is set midway.
    """
    prompts, answers, scheduled, tokens = (
        iterations[name].to_numpy().astype(np.float64)
        for name in ("prefill_tokens", "decode_tokens", "scheduled_requests", "scheduled_tokens")
    )
    bounds = attended(iterations, requests).pairs
    pairs = (bounds.least + bounds.most) / 2
    counted, contexts = decode_contexts(requests, iterations.num_rows)
    context = np.where(prompts == 0, pairs, np.where(counted == answers, contexts, np.minimum(pairs, contexts)))
    columns = (
        np.ones(len(tokens)),
        (prompts > 0).astype(np.float64),
        scheduled - answers,
        prompts,
        answers,
        np.maximum(pairs - context, 0.0),
        context,
    )
    busy = busy_ns(iterations, idle_gaps(iterations)).astype(np.float64)
    there = (tokens > 0) & (busy > 0) & ~profiled_steps(iterations, profiled_span(facts, iterations))
    return StepSample(np.column_stack(columns)[there], busy[there])


def beyond(samples: Sequence[StepSample], most: Mapping[str, float | None]) -> list[str]:
    """Return the terms of which a step has more than the most that is given; None is no limit."""
    found = np.max([sample.counts.max(axis=0, initial=0.0) for sample in samples], axis=0, initial=0.0)
    known = {name: limit for name, limit in most.items() if limit is not None}
    return [name for name, count in zip(TERMS, found, strict=True) if count > known.get(name, math.inf)]


def calibrated(samples: Sequence[StepSample]) -> StepTimes:
    """Fit the prices to all samples, with their uncertainty and that of predictions."""
    steps = sum(map(len, samples))
    if steps < FEWEST_STEPS:
        raise InputError(f"{steps} recorded steps are too few for step times: record at least {FEWEST_STEPS}")
    groups = [sample for sample in samples if len(sample)]
    if len(groups) == 1:
        groups = groups[0].stretches(STRETCHES)
    prices = fitted(groups)
    left_out = [fitted([*groups[:number], *groups[number + 1 :]]) for number in range(len(groups))]
    return StepTimes(
        {
            name: Price(float(price), float(width), float(most))
            for name, price, width, most in zip(
                TERMS,
                prices,
                _half_widths(left_out),
                np.max([group.counts.max(axis=0) for group in groups], axis=0),
                strict=True,
            )
        },
        error=prediction_error(groups, left_out),
        recordings=len(groups),
    )


def fitted(samples: Sequence[StepSample]) -> Reals:
    """Return the non-negative prices of least relative absolute errors, scaled to the recorded sums."""
    from scipy.optimize import nnls

    counts, ns = np.concatenate([s.counts for s in samples]), np.concatenate([s.ns for s in samples])
    scale = np.maximum(counts.max(axis=0), 1.0)
    scaled, weights = counts / scale, 1 / ns
    prices = np.zeros(counts.shape[1])
    for _ in range(FITS):
        weighted = scaled * weights[:, None]
        # The same least squares in a row for each price and one more.
        triangle: Reals = np.linalg.qr(np.column_stack([weighted, ns * weights])).R
        prices = nnls(triangle[:, :-1], triangle[:, -1])[0]
        distances = np.abs(scaled @ prices / ns - 1)
        weights = 1 / (ns * np.sqrt(np.maximum(distances, max(float(np.median(distances)) / 10, 1e-6))))
    return _scaled_to_sums(prices / scale, counts, ns)


def _scaled_to_sums(prices: Reals, counts: Reals, ns: Reals) -> Reals:
    """Scale all prices by recorded over predicted time, with stalls cut."""
    predicted = counts @ prices
    found: Reals = prices * (np.minimum(ns, STALL * predicted).sum() / predicted.sum())
    return found


def prediction_error(groups: Sequence[StepSample], left_out: Sequence[Reals]) -> float | None:
    """Return the standard deviation of log(recorded / predicted) of each group's time, predicted from the others."""
    if len(groups) < 2:
        return None
    logs = [
        math.log(group.ns.sum() / (group.counts @ prices).sum()) for group, prices in zip(groups, left_out, strict=True)
    ]
    return float(np.sqrt(np.mean(np.square(logs))))


def _half_widths(left_out: Sequence[Reals]) -> Reals:
    """Return half the 95 % intervals of the prices, by the jackknife over the groups."""
    number, prices = len(left_out), np.array(left_out)
    deviation = np.sqrt((number - 1) / number * np.square(prices - prices.mean(axis=0)).sum(axis=0))
    found: Reals = deviation * quantile(number - 1)
    return found
