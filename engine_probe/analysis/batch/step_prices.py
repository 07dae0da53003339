"""The prices of a step's terms, fitted to recorded steps.

Every step's time, from the end of the step before to its own end, has two parts: the host's (between steps, schedule
and update) and the rest, the device's. Each is a sum of non-negative prices times counts. The fit minimises relative
absolute errors, so that neither a stall nor the long steps decide it. Then the prices are scaled to the recorded sums,
because predictions add steps up. What is left of single steps' times is kept as their scatter.

Recordings of the same steps differ: the machine is not as fast at every moment. How much is told by what the fit leaves
of each recording's time. A recording draws the fit towards itself, the more the fewer others have steps like its own:
without regard to that, the noise would seem too small. One recording is divided into
stretches for that, which can tell less: they share its machine and its moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine_probe.analysis.batch.price_fit import STALL, PriceFit, fitted_prices
from engine_probe.analysis.statistics.arrays import Flags, Reals
from engine_probe.analysis.statistics.student import quantile
from engine_probe.analysis.step.attention_work import attended, decode_contexts
from engine_probe.analysis.step.bottleneck import idle_gaps
from engine_probe.analysis.step.operators import profiled_span, profiled_steps
from engine_probe.analysis.step.step_time import busy_ns, device_ns
from engine_probe.engine.twin.step_times import ANSWERS, PROMPTS, TERMS, Price, Spread, StepTimes, padding
from engine_probe.errors import InputError

FEWEST_STEPS = 200
STRETCHES = 10  # of a single recording
SCATTER = 200  # ratios that stand for the scatter of single steps: enough for a 99th percentile
FEWEST_SCATTERED = 20  # steps of a kind
LEAST_KEPT = 0.1  # of the recordings' noise that a fit must leave for it to be known
PROMPT_TOKENS = list(TERMS).index("prompt token")


@dataclass(frozen=True, eq=False)
class StepSample:
    """Steps of one recording: a row of counts in the order of TERMS for each, and its time."""

    counts: Reals
    ns: Reals  # from the end of the step before to its own end
    host_ns: Reals | None = None  # the host's part; None: not told apart
    forward_ns: Reals | None = None  # the device's part by its own clock; None: the rest
    overlaps: bool = False  # whether the device computed while the host prepared the next step

    def __len__(self) -> int:
        return len(self.ns)

    @property
    def host(self) -> Reals:
        return np.zeros(len(self)) if self.host_ns is None else self.host_ns

    @property
    def device(self) -> Reals:
        if self.forward_ns is not None:
            return self.forward_ns
        # The longer part sets the pace; where nothing timed the device, it is taken for that.
        return self.ns if self.overlaps else np.maximum(self.ns - self.host, 1.0)

    @property
    def with_prompts(self) -> Flags:
        return self.counts[:, PROMPT_TOKENS] > 0

    def stretches(self, number: int) -> list[StepSample]:
        parts = np.array_split(np.arange(len(self)), number)
        return [self.at(part) for part in parts]

    def at(self, chosen: npt.NDArray[Any]) -> StepSample:
        host, forward = (None if part is None else part[chosen] for part in (self.host_ns, self.forward_ns))
        return StepSample(self.counts[chosen], self.ns[chosen], host, forward, self.overlaps)


def step_sample(
    facts: dict[str, Any], iterations: pa.Table, requests: pa.Table, workers: pa.Table | None = None
) -> StepSample:
    """Return what each step with tokens counted, and its time without the idle time before it."""
    return with_tokens(every_step(facts, iterations, requests, workers), facts, iterations)


def with_tokens(whole: StepSample, facts: dict[str, Any], iterations: pa.Table) -> StepSample:
    """Return the steps that have tokens and that torch's profiler did not slow down."""
    there = (iterations["scheduled_tokens"].to_numpy() > 0) & (whole.ns > 0)
    return whole.at(np.flatnonzero(there & ~profiled_steps(iterations, profiled_span(facts, iterations))))


def every_step(
    facts: dict[str, Any], iterations: pa.Table, requests: pa.Table, workers: pa.Table | None = None
) -> StepSample:
    """Return a row for each step. Where several prompts share one, their attention is set midway between its bounds.

    Draft tokens are answer tokens that attend to nothing of their own: they share what is read for their request.
    """
    prompts, answers, scheduled, tokens, drafts, gap, schedule, update = (
        iterations[name].to_numpy().astype(np.float64) for name in COLUMNS
    )
    bounds = attended(iterations, requests).pairs
    pairs = (bounds.least + bounds.most) / 2
    counted, contexts = decode_contexts(requests, iterations.num_rows)
    alone = np.where(drafts > 0, np.maximum(pairs - drafts, 0.0), pairs)
    known = (counted == answers) & ((prompts > 0) | (drafts > 0))
    context = np.where(known, contexts, np.where(prompts == 0, alone, np.minimum(pairs, contexts)))
    sizes = graph_sizes(facts)
    columns = (
        np.ones(len(tokens)),
        (prompts > 0).astype(np.float64),
        scheduled - answers,
        prompts,
        answers + drafts,
        np.where(prompts == 0, 0.0, np.maximum(pairs - context, 0.0)),
        context,
        np.array([padding(int(asked), sizes) for asked in tokens], dtype=np.float64),
    )
    idle = idle_gaps(iterations)
    busy = busy_ns(iterations, idle).astype(np.float64)
    forward = None if workers is None or not workers.num_rows else device_ns(iterations, workers)
    return StepSample(
        np.column_stack(columns),
        busy,
        np.where(idle | (np.arange(len(gap)) == 0), 0.0, gap) + schedule + update,
        None if forward is None else forward.astype(np.float64),
        bool(facts["engine"]["asynchronous"]) and beside_host(facts),
    )


COLUMNS = (
    *("prefill_tokens", "decode_tokens", "scheduled_requests", "scheduled_tokens", "speculative_tokens"),
    *("gap_ns", "schedule_ns", "update_ns"),
)


def beside_host(facts: Mapping[str, Any]) -> bool:
    """Return whether the engine's device works while its host does something else: GPUs do, a CPU is its own host."""
    return any(row["device"] != "cpu" for row in facts.get("memory") or ())


def graph_sizes(facts: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the tokens of the graphs that vLLM captured, which steps are padded to. Empty without graphs."""
    found = facts.get("compilation") or {}
    captured = found.get("capture_sizes") if found.get("graph_mode") not in (None, "NONE") else None
    return tuple(sorted(captured or ()))


def beyond(samples: Sequence[StepSample], most: Mapping[str, float | None]) -> list[str]:
    """Return the terms of which a step has more than `most`, beyond which prices were not fitted; None is no limit."""
    found = np.max([sample.counts.max(axis=0, initial=0.0) for sample in samples], axis=0, initial=0.0)
    known = {name: limit for name, limit in most.items() if limit is not None}
    return [name for name, count in zip(TERMS, found, strict=True) if count > known.get(name, math.inf)]


def calibrated(samples: Sequence[StepSample], starts: Sequence[int] = ()) -> StepTimes:
    """Fit the prices to all samples, with their uncertainty and that of predictions.

    `starts` tells of each sample since which start of its engine it was recorded; all are of one without it.
    """
    steps = sum(map(len, samples))
    if steps < FEWEST_STEPS:
        raise InputError(f"{steps} recorded steps are too few for step times: record at least {FEWEST_STEPS}")
    start_of = [start for sample, start in zip(samples, starts or [0] * len(samples), strict=True) if len(sample)]
    groups = [sample for sample in samples if len(sample)]
    if len(groups) == 1:
        groups, start_of = groups[0].stretches(STRETCHES), [0] * STRETCHES
    fits = fitted(groups), fitted_host(groups)
    device, host = (fit.prices for fit in fits)
    without_one = [[*groups[:number], *groups[number + 1 :]] for number in range(len(groups))]
    left_out = [(fitted(others).prices, fitted_host(others).prices) for others in without_one]
    most = np.max([group.counts.max(axis=0) for group in groups], axis=0)
    # A row for each recording: how the fits' summed prices grow with the logarithm of its times.
    influence: Reals = np.sum([fit.influence(list(map(len, groups))) for fit in fits], axis=0)
    own, of_starts = noise(groups, device, host, influence, start_of)
    return StepTimes(
        _priced(device, [prices for prices, _ in left_out], most),
        error=prediction_error(groups, left_out),
        recordings=len(groups),
        host=_priced(host, [prices for _, prices in left_out], most) if host.any() else {},
        scatter=scatter(groups, device, host),
        noise=own,
        starts=of_starts,
        start_of=tuple(start_of) if of_starts else (),
        influence=tuple(tuple(map(float, each)) for each in influence),
    )


def pulls(counts: Reals, prices: Reals, influence: Reals) -> Reals:
    """Return how the logarithm of the predicted sum of these steps grows with that of each recording's times."""
    total = counts.sum(axis=0)
    found: Reals = influence @ total / (prices @ total)
    return found


def noise(
    groups: Sequence[StepSample], device: Reals, host: Reals, influence: Reals, start_of: Sequence[int]
) -> tuple[Spread | None, Spread | None]:
    """Return how much recordings of the same steps differ since one start, and how much starts differ beside that.

    What the fit leaves of a recording's logarithm is its own noise less what the noise of all draws the fit along. The
    squares of what is left, of the starts' means and of the rest, are each a sum of both variances with known weights.
    None from fewer than two recordings or starts, or where every one is met.
    """
    prices, expected = device + host, [predicted_ns(group, device, host).sum() for group in groups]
    left = np.array([math.log(group.ns.sum() / each) for group, each in zip(groups, expected, strict=True)])
    shares = np.eye(len(groups)) - np.array([pulls(group.counts, prices, influence) for group in groups])
    squares = shares.T @ shares
    kept = float(np.trace(squares))
    if len(groups) < 2 or kept < LEAST_KEPT:
        return None, None
    own = Spread(math.sqrt(float(left @ left) / kept), kept**2 / float(np.square(squares).sum()))
    since = np.equal.outer(start_of, sorted(set(start_of))).astype(np.float64)  # a row for each recording
    if since.shape[1] < 2:
        return own, None
    means = since @ (since / since.sum(axis=0)).T  # makes of each recording's value the mean since its start
    parts = (np.eye(len(groups)) - means) @ shares, means @ shares
    weights = np.array([[np.square(part).sum(), np.square(part @ since).sum()] for part in parts])
    sums = [float(left @ (np.eye(len(groups)) - means) @ left), float(left @ means @ left)]
    one, other = np.linalg.lstsq(weights, np.array(sums), rcond=None)[0]
    if other <= 0 or one <= 0:
        return own, Spread(0.0, since.shape[1] - 1.0)
    inner = parts[0].T @ parts[0]
    freedom = float(np.trace(inner)) ** 2 / float(np.square(inner).sum())
    return Spread(math.sqrt(one), freedom), Spread(math.sqrt(other), since.shape[1] - 1.0)


def _priced(prices: Reals, left_out: Sequence[Reals], most: Reals) -> dict[str, Price]:
    widths = _half_widths(left_out)
    return {
        name: Price(float(price), float(width), float(limit))
        for name, price, width, limit in zip(TERMS, prices, widths, most, strict=True)
    }


def fitted_host(samples: Sequence[StepSample]) -> PriceFit:
    """Return the prices of the host's part; zeros where recordings do not separate it."""
    return _fitted(samples, np.concatenate([sample.host for sample in samples]))


def fitted(samples: Sequence[StepSample]) -> PriceFit:
    """Return the prices of the device's part."""
    return _fitted(samples, np.concatenate([sample.device for sample in samples]))


def _fitted(samples: Sequence[StepSample], ns: Reals) -> PriceFit:
    counts, whole = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("counts", "ns"))
    return fitted_prices(counts, ns, whole)


def predicted_ns(sample: StepSample, device: Reals, host: Reals) -> Reals:
    """Return the times that prices predict for steps: the sum of both parts, or the longer one if they overlap."""
    parts = sample.counts @ device, sample.counts @ host
    return np.maximum(*parts) if sample.overlaps else parts[0] + parts[1]


def scatter(groups: Sequence[StepSample], device: Reals, host: Reals) -> dict[str, tuple[float, ...]]:
    """Return quantiles of recorded over predicted time of single steps, by kind, whose mean keeps the recorded sum."""
    found = {}
    for kind, prompts in ((PROMPTS, True), (ANSWERS, False)):
        chosen = [group.at(np.flatnonzero(group.with_prompts == prompts)) for group in groups]
        ns = np.concatenate([group.ns for group in chosen])
        expected = np.concatenate([predicted_ns(group, device, host) for group in chosen])
        if len(ns) < FEWEST_SCATTERED or not expected.all():
            continue
        cut = np.minimum(ns, STALL * expected)
        ratios = np.quantile(cut / expected, (np.arange(SCATTER) + 0.5) / SCATTER)
        ratios *= cut.sum() / expected.sum() / ratios.mean()
        found[kind] = tuple(round(float(ratio), 4) for ratio in ratios)
    return found


def prediction_error(groups: Sequence[StepSample], left_out: Sequence[tuple[Reals, Reals]]) -> float | None:
    """Return the standard deviation of log(recorded / predicted) of each group's time, predicted from the others."""
    if len(groups) < 2:
        return None
    logs = [
        math.log(group.ns.sum() / predicted_ns(group, *prices).sum())
        for group, prices in zip(groups, left_out, strict=True)
    ]
    return float(np.sqrt(np.mean(np.square(logs))))


def _half_widths(left_out: Sequence[Reals]) -> Reals:
    """Return half the 95 % intervals of the prices, by the jackknife over the groups."""
    number, prices = len(left_out), np.array(left_out)
    deviation = np.sqrt((number - 1) / number * np.square(prices - prices.mean(axis=0)).sum(axis=0))
    found: Reals = deviation * quantile(number - 1)
    return found
