"""What a comparison concludes from two simulated sweeps of one engine, or of two that differ by a known share.

Each side is measured on an occasion of its own. They are compared without more, and with earlier sweeps of the first,
which show the drift between occasions. A figure of a run follows from its throughput: latencies are its inverse, and
each adds noise of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from engine_probe.analysis.compare.changes import Change, Moments, changes, occasion_means
from engine_probe.analysis.compare.drift import with_drift
from engine_probe.analysis.compare.gates import read_gate
from engine_probe.analysis.compare.pooled_changes import together, with_common_noise
from engine_probe.analysis.money.run_costs import NO_PRICES, RunCosts
from engine_probe.analysis.money.work import NO_GPUS, Work
from engine_probe.analysis.run.latency_figures import ByName, LatencyFigures
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.statistics.arrays import Reals
from tools.calibration.claims import Claim
from tools.calibration.oracle import powers_for_change
from tools.calibration.simulated.noise import KINDS, draw_factors
from tools.calibration.simulated.shapes import between

EFFECT = -0.05
POWER_NOISE, POWER_REPEATS = 0.02, 3
PLANNED = "-5 % at 2 % noise, 3 repeats"
EARLIER = 4  # sweeps of the first side, where the drift is known
KNOWN = "drift known: "
GOES_ON = "drift that goes on: "
THROUGHPUT = "output_tokens_per_s"
COUNT = "preemptions"
LATENCY_NOISE = 0.5  # of the deviation of throughput: what a latency adds by itself
PREEMPTIONS = 2.0  # the mean of a run
LATENCIES = {"TTFT": 50e6, "TPOT": 12e6, "ITL": 12e6, "E2EL": 3e9}  # nanoseconds
TAIL = 1.5  # a p99 over its p50
REQUESTS = 200


UNKNOWN = RunCosts(Work(0.0, 0.0, 0.0, None, NO_GPUS, 0.0, 0.0), NO_PRICES)


@dataclass(frozen=True)
class SimulatedRun(ByName):
    """The figures of a `Summary` that a comparison reads."""

    output_tokens_per_s: float
    total_tokens_per_s: float
    requests_per_s: float
    latencies: tuple[LatencyFigures, ...]
    highest_output_tokens_per_s: None = None
    goodput: None = None
    success: None = None
    prefix_cache: None = None
    peak_kv_share: float = 0.5
    preemptions: int = 0
    recomputed_share: float = 0.0
    costs: RunCosts = UNKNOWN


def simulated_run(rng: np.random.Generator, rate: float, factor: float, deviation: float) -> Summary:
    """Return a run whose throughput is a rate times a factor of chance."""
    output = rate * factor
    latencies = []
    for name, ns in LATENCIES.items():
        middle, tail = ns / factor * np.exp(LATENCY_NOISE * deviation * rng.standard_normal(2))
        percentiles: dict[int, float | None] = {50: float(middle), 99: TAIL * float(tail)}
        latencies.append(LatencyFigures(name, "", REQUESTS, float(middle), percentiles))
    preemptions = int(rng.poisson(PREEMPTIONS))
    return cast(Summary, SimulatedRun(output, 3 * output, output / 200, tuple(latencies), preemptions=preemptions))


@dataclass(frozen=True)
class Compared:
    """A comparison of two simulated sweeps, judged as `engine_probe compare` judges it."""

    points: list[list[Change]]
    whole: list[Change]
    effect: float  # the true relative change of throughput

    def of(self, changed: Sequence[Change]) -> Change | None:
        return next((change for change in changed if change.metric.name == THROUGHPUT), None)


def draw_comparison(
    rng: np.random.Generator,
    kind: str,
    effect: float,
    deviation: float,
    repeats: int,
    earlier: int = 0,
    goes_on: bool = False,
) -> Compared:
    """Draw two sweeps over the same loads, and others of the first, and compare the two.

    The others are earlier; or the machine drifts from sweep to sweep, and the two are any of them.
    """
    rates = np.sort(rng.uniform(10, 1000, int(rng.integers(5, 16))))
    places, machine = np.arange(earlier + 2), np.ones(earlier + 2)
    if goes_on:
        places, machine = rng.permutation(places), np.exp(deviation * rng.standard_normal(earlier + 2).cumsum())
    ratios = machine[places] * [*[1.0] * earlier, 1.0, 1 + effect]
    *others, before, after = (draw_side(rng, kind, rates * ratio, deviation, repeats) for ratio in ratios)
    points = with_common_noise([changes(*point) for point in zip(before, after, strict=True)])
    if others:
        *known, one, other = places.tolist()
        moments = Moments((tuple(known),), one, other)
        points = [drifted(point, sweeps, moments) for point, *sweeps in zip(points, *others, strict=True)]
    return Compared(points, together(points), effect)


def drifted(point: Sequence[Change], sweeps: Sequence[Sequence[Summary]], moments: Moments) -> list[Change]:
    return [with_drift(change, [occasion_means(change.metric, sweeps) or ()], moments) for change in point]


def draw_side(rng: np.random.Generator, kind: str, rates: Reals, deviation: float, repeats: int) -> list[list[Summary]]:
    """Draw a sweep: the repeats of each point."""
    factors = draw_factors(rng, kind, deviation, len(rates), repeats).runs
    return [
        [simulated_run(rng, rate, factor, deviation) for factor in of_point]
        for rate, of_point in zip(rates.tolist(), factors.tolist(), strict=True)
    ]


def comparison(rng: np.random.Generator, index: int) -> tuple[str, list[Claim]]:
    """Simulate comparisons: in turns A/A, A/B by 5 %, and the one for which a power is demanded."""
    kind, turn = list(KINDS)[index % len(KINDS)], index // len(KINDS) % 3
    if turn == 2:
        compared = draw_comparison(rng, "independent", EFFECT, POWER_NOISE, POWER_REPEATS)
        known = draw_comparison(rng, "shared by the occasion", EFFECT, POWER_NOISE, POWER_REPEATS, EARLIER)
        return PLANNED, [*power_claims(compared), *known_power_claims(known)]
    deviation, repeats = between(rng, 0.01, 0.10), int(rng.integers(1, 6))
    effect, earlier = EFFECT if turn else 0.0, int(rng.integers(2, 2 * EARLIER))
    compared = draw_comparison(rng, kind, effect, deviation, repeats)
    known = draw_comparison(rng, kind, effect, deviation, repeats, earlier)
    drifting = draw_comparison(rng, kind, effect, deviation, repeats, earlier, goes_on=True)
    claims = bound_claims if turn else alarm_claims
    of_known = [replace(claim, topic=KNOWN + claim.topic) for claim in (*claims(known), *interval_claims(known))]
    return kind, [*claims(compared), *within_claims(compared), *of_known, *drifting_claims(drifting)]


def told(found: Sequence[Change]) -> bool:
    return any(change.verdict in ("better", "worse") for change in found)


def broken(bound: str, found: Sequence[Change | None]) -> bool:
    """Return whether a bound is broken at any of these points, or by the only change."""
    judged = read_gate(f"{THROUGHPUT} < {bound}").judge_points([change for change in found if change])
    return any(each.answer == "broken" for each in judged)


def alarm_claims(compared: Compared) -> Iterator[Claim]:
    """Yield what is told of an engine that did not change."""
    whole = compared.of(compared.whole)
    at_points = [compared.of(point) for point in compared.points]
    changed = [change for point in compared.points for change in point]
    yield Claim("A/A: a single change told", told([each for each in changed if each.metric.name != COUNT]))
    yield Claim("A/A: a count told", told([each for each in changed if each.metric.name == COUNT]))
    yield Claim("A/A: any figure of all points together told", told(compared.whole))
    if whole:
        yield Claim("A/A: throughput of all points together told", told([whole]))
        yield Claim("A/A: gate broken over all points together", broken("-5%", [whole]))
        yield Claim("A/A: gate broken at any point", broken("-5%", at_points) or broken("-5%", [whole]))


def bound_claims(compared: Compared) -> Iterator[Claim]:
    """Yield whether a gate is broken whose bound is the truth."""
    for point in compared.points:
        yield Claim("gate on the true change broken", broken(f"{100 * compared.effect:g}%", [compared.of(point)]))


def interval_claims(compared: Compared) -> Iterator[Claim]:
    for name, found in (
        *(("interval of a change at a point", point) for point in compared.points),
        ("interval of the change of all points together", compared.whole),
    ):
        change = compared.of(found)
        ends = change.relative_interval if change else None
        yield Claim(name, None if ends is None else ends[0] <= compared.effect <= ends[1])


def within_claims(compared: Compared) -> Iterator[Claim]:
    """Yield how often the intervals within the sweeps contain the true change, which is more than they say."""
    for claim in interval_claims(compared):
        yield replace(claim, topic=f"within the sweeps: {claim.topic}")


def drifting_claims(compared: Compared) -> Iterator[Claim]:
    """Yield what is told over all points while the machine drifts from sweep to sweep."""
    if compared.effect:
        bound = f"{100 * compared.effect:g}%"
        yield Claim(f"{GOES_ON}gate on the true change broken", broken(bound, [compared.of(compared.whole)]))
    for claim in interval_claims(compared):
        yield replace(claim, topic=GOES_ON + claim.topic)


def power_claims(compared: Compared) -> Iterator[Claim]:
    """Yield whether the intervals within the sweeps show a loss, and at a point how often they could at best."""
    _, best = powers_for_change(compared.effect, POWER_NOISE, POWER_REPEATS, len(compared.points))
    for point in compared.points:
        yield Claim("-5 %: interval within the sweeps below zero at a point", is_below_zero(compared.of(point)), best)
    whole = compared.of(compared.whole)
    yield Claim("-5 %: interval within the sweeps below zero over all points together", is_below_zero(whole))


def known_power_claims(compared: Compared) -> Iterator[Claim]:
    whole = compared.of(compared.whole)
    yield Claim(f"{KNOWN}-5 %: gate at 0 % broken over all points together", broken("0%", [whole]))


def is_below_zero(change: Change | None) -> bool:
    return change is not None and change.interval is not None and change.interval[1] < 0
