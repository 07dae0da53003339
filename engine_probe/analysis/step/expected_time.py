"""How long each step should have taken, from the measured steps that are most like it.

Steps with prompt tokens, steps that only decode and steps without tokens are kinds of their own. Within a kind a
robust line over the step's tokens and the tokens that its requests hold predicts each step's time; like steps are those
of nearest prediction. Expected is a step's prediction times the median of measured / predicted among these.
"""

import numpy as np
import pyarrow as pa

from engine_probe.analysis.statistics.arrays import Integers, Reals

LIKE = 51  # steps whose median counts
FEWEST = 20  # steps of a kind; with fewer nothing is expected
LEAST_OF_MEDIAN = 0.1  # of a kind's median time: no step is predicted to take less
FITS = 8  # of the line, each with less weight on the steps that are far from the one before
SIGMA_PER_MAD = 1.4826  # of a normal distribution
MOST_MEDIANS = 20_000  # of longer runs; between them neighbours share all but a few of their like steps


def expected_ns(iterations: pa.Table, times: Integers) -> tuple[Reals, Reals]:
    """Return what was expected of each step, and how much like steps spread (a robust standard deviation).

    Both are NaN for steps of a kind that the run has too few of.
    """
    names = ("prefill_tokens", "decode_tokens", "speculative_tokens", "kv_tokens_live")
    prefill, decode, speculative, live = (iterations[name].to_numpy().astype(np.float64) for name in names)
    features = np.column_stack([np.ones(len(times)), prefill, decode + speculative, live])
    kinds = np.where(prefill > 0, 2, np.where(decode + speculative > 0, 1, 0))
    expected, spread = np.full(len(times), np.nan), np.full(len(times), np.nan)
    for kind in np.unique(kinds):
        mine = np.flatnonzero(kinds == kind)
        if len(mine) >= FEWEST:
            ns = times[mine].astype(np.float64)
            line = np.maximum(robust_line(features[mine], ns), max(LEAST_OF_MEDIAN * float(np.median(ns)), 1.0))
            order = np.argsort(line, kind="stable")
            places, line, ratio = mine[order], line[order], (ns / line)[order]
            usual = running_median(ratio)
            expected[places] = line * usual
            spread[places] = SIGMA_PER_MAD * line * running_median(np.abs(ratio - usual))
    return expected, spread


def robust_line(features: Reals, ns: Reals) -> Reals:
    """Return each step's time on the line of least absolute deviations, by weighted least squares."""
    scale = np.maximum(np.abs(features).max(axis=0), 1.0)
    scaled, weights = features / scale, np.ones(len(ns))
    line = np.zeros(len(ns))
    for _ in range(FITS):
        weighted = scaled * weights[:, None]
        # Columns can be constant: the shortest of all solutions.
        line = scaled @ np.linalg.lstsq(weighted.T @ scaled, weighted.T @ ns, rcond=1e-12)[0]
        distances = np.abs(ns - line)
        weights = 1 / np.maximum(distances, max(float(np.median(distances)) / 10, 1.0))
    return line


def running_median(values: Reals) -> Reals:
    """Return the median of the LIKE values around each; at the ends, of the first and the last LIKE."""
    width = min(LIKE, len(values) - (len(values) + 1) % 2)
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    places = np.arange(0, len(windows), -(-len(windows) // MOST_MEDIANS))
    inner = np.interp(np.arange(len(windows)), places, np.median(windows[places], axis=1))
    before = (width - 1) // 2
    return np.pad(inner, (before, len(values) - len(inner) - before), mode="edge")
