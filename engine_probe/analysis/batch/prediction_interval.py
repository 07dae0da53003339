"""The intervals of predicted figures: how far the real ones may lie from them, nine times in ten.

Three errors add up: the noise of a recording, the noise of those that the prices were fitted to, as far as each of them
draws this prediction along, which grows away from the recorded steps, and what a figure scatters by itself. A machine
drifts: recordings since one start of an engine are alike beside those since another. Where several starts were
recorded, what they differ by is a fourth error; from one alone it cannot be known.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine_probe.analysis.batch.step_prices import StepSample, pulls
from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.student import ONE_SIDED, Interval, quantile, summed_variance
from engine_probe.engine.twin.step_times import TERMS

RATE = "output tokens/s"  # other figures are named as "TTFT p50" and "TTFT mean"
RATES = ("output_tokens_per_s", "total_tokens_per_s", "requests_per_s")  # metrics that err by the same factor
LARGEST = 100.0  # of a logarithm


def log_widths(times: Mapping[str, Any], sample: StepSample) -> dict[str, float]:
    """Return the half width of each figure's interval, in logarithms; "" is that of all times together.

    `times` are step times as `run.json` holds them, `sample` the predicted steps. Empty where no error is known.
    """
    error, recordings, noise = times.get("error"), int(times.get("recordings") or 0), times.get("noise")
    if noise is None:
        return {} if error is None or not recordings else {"": _width([(float(error) ** 2, recordings)])}
    pulled = _pulled_by_each(times, sample)
    common = [(float(noise["deviation"]) ** 2 * (1 + float(pulled @ pulled)), float(noise["freedom"]))]
    if (starts := times.get("starts")) is not None:
        of_starts = np.bincount(times["start_of"], pulled) if len(pulled) else pulled
        drawn = 1 + float(of_starts @ of_starts)
        common.append((float(starts["deviation"]) ** 2 * drawn, float(starts["freedom"])))
    figures = times.get("errors") or {}
    return {"": _width(common)} | {
        name: _width([*common, (float(each["deviation"]) ** 2, float(each["freedom"]))])
        for name, each in figures.items()
    }


def _width(variances: Sequence[tuple[float, float]]) -> float:
    """Return half the interval of a sum of errors, given the variance and the degrees of freedom of each."""
    variance, freedom = summed_variance(variances)
    return min(quantile(freedom, ONE_SIDED) * math.sqrt(variance), LARGEST)


def _pulled_by_each(times: Mapping[str, Any], sample: StepSample) -> Reals:
    """Return how the logarithm of the steps' whole time grows with that of each recording; empty if unknown."""
    influence: Reals = np.array(times.get("influence") or (), dtype=np.float64)
    prices = prices_of(times.get("prices") or {}) + prices_of(times.get("host") or {})
    if influence.ndim != 2 or influence.shape[1] != sample.counts.shape[1] or not sample.counts.sum(axis=0) @ prices:
        return np.zeros(0)
    return pulls(sample.counts, prices, influence)


def prices_of(part: Mapping[str, Any]) -> Reals:
    """Return the prices of a part of the steps, as `run.json` holds them, in the order of TERMS."""
    return np.array([float((part.get(name) or {}).get("ns") or 0.0) for name in TERMS])


def interval(widths: Mapping[str, float], figure: str, value: float) -> Interval | None:
    """Return the interval of a predicted figure. None if nothing is known of its error."""
    width = widths.get(figure, widths.get(""))
    return None if width is None else (value * math.exp(-width), value * math.exp(width))


def figure_of(metric: str) -> str | None:
    """Return the figure of a metric by its name in JSON, as "TTFT p50" of "ttft_p50_ms". None if it has none."""
    latency = re.fullmatch(r"([a-z0-9]+)_p(\d+)_ms", metric)
    if latency:
        return f"{latency[1].upper()} p{latency[2]}"
    return RATE if metric in RATES else None
