"""What a request costs the host between two steps: when it arrives, and when it has ended.

An engine in the driver's process adds a request while no step runs. Steps of a large model hide that; to a step of two
milliseconds, eight requests that arrive together add two. Before a step that follows idle time, what counts is the time
since the first of its requests arrived.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from engine_probe.analysis.batch.price_fit import fitted_prices
from engine_probe.analysis.run.token_times import update_end_ns
from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.step.bottleneck import idle_gaps
from engine_probe.engine.twin.step_times import REQUEST_TERMS, Price

FEWEST_GAPS = 20


def request_prices(recordings: Sequence[tuple[pa.Table, pa.Table]]) -> dict[str, Price]:
    """Fit the prices of requests to the gaps between steps, given the iterations and requests of each recording."""
    counts, ns = (np.concatenate(parts) for parts in zip(*(gaps(*each) for each in recordings), strict=True))
    if len(ns) < FEWEST_GAPS:
        return {}
    prices = fitted_prices(counts, ns, ns).prices[1:]
    return {name: Price(float(price)) for name, price in zip(REQUEST_TERMS, prices, strict=True)}


def gaps(iterations: pa.Table, requests: pa.Table) -> tuple[Reals, Reals]:
    """Return a row of counts for each gap (itself, requests that arrived in it, that ended before it), and its time."""
    idle, counted = idle_gaps(iterations), counts(iterations)
    since = iterations["start_ns"].to_numpy() - first_arrivals(iterations, requests)
    ns = np.where(idle, since, iterations["gap_ns"].to_numpy())
    known = (ns > 0) & (np.arange(len(ns)) > 0)
    whole = np.column_stack([np.ones(len(ns)), counted[:, 0], np.where(idle, 0, counted[:, 1])])
    return whole[known], ns[known].astype(np.float64)


def counts(iterations: pa.Table) -> Reals:
    """Return how many requests arrived before each step, and how many ended in the one before, by REQUEST_TERMS."""
    ended = np.r_[0, iterations["finished_requests"].to_numpy()[:-1]]
    return np.column_stack([iterations["arrived_requests"].to_numpy(), ended]).astype(np.float64)


def first_arrivals(iterations: pa.Table, requests: pa.Table) -> Reals:
    """Return when the first request arrived after each step's predecessor had ended; infinite if none did."""
    arrivals = np.sort(requests["arrival_ns"].drop_null().to_numpy())
    before = np.r_[np.int64(0), update_end_ns(iterations)[:-1]]
    found: Reals = np.r_[arrivals, np.inf][np.searchsorted(arrivals, before)]
    return found


def request_ns(iterations: pa.Table, prices: Mapping[str, Price]) -> Reals:
    """Return the time of requests in the gap before each step; zero before steps that follow idle time."""
    each = np.array([prices[name].ns if name in prices else 0.0 for name in REQUEST_TERMS])
    spent = np.minimum(counts(iterations) @ each, iterations["gap_ns"].to_numpy())
    return np.where(idle_gaps(iterations) | (np.arange(len(spent)) == 0), 0.0, spent)
