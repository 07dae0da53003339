"""The intervals of predicted figures: how far the real ones may lie from them, nine times in ten.

Two errors add up: that of the same figure in recordings that had no part in the fit, and how much the time of this
prediction's steps differs between the fits without each of the recordings, which grows away from the recorded steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine_probe.analysis.batch.step_prices import Reals, StepSample
from engine_probe.analysis.statistics.student import ONE_SIDED, Interval, quantile

RATE = "output tokens/s"  # other figures are named as "TTFT p50" and "TTFT mean"
RATES = ("output_tokens_per_s", "total_tokens_per_s", "requests_per_s")  # metrics that err by the same factor
LARGEST = 100.0  # of a logarithm


def log_widths(times: Mapping[str, Any], sample: StepSample) -> dict[str, float]:
    """Return the half width of each figure's interval, in logarithms; "" is that of all times together.

    `times` are step times as `run.json` holds them, `sample` the predicted steps. Empty where no error is known.
    """
    error, recordings = times.get("error"), int(times.get("recordings") or 0)
    if error is None or not recordings:
        return {}
    spread = _between_fits(times.get("left_out") or (), sample)
    known = {"": (float(error), recordings)} | {
        name: (float(each["deviation"]), int(each["recordings"])) for name, each in (times.get("errors") or {}).items()
    }
    return {
        name: min(quantile(number, ONE_SIDED) * math.hypot(deviation, spread), LARGEST)
        for name, (deviation, number) in known.items()
    }


def _between_fits(left_out: Any, sample: StepSample) -> float:
    """Return the standard error of the logarithm of the steps' whole time, by the jackknife."""
    prices: Reals = np.array(left_out, dtype=np.float64)
    if prices.ndim != 2 or len(prices) < 2 or prices.shape[1] != sample.counts.shape[1]:
        return 0.0
    totals = prices @ sample.counts.sum(axis=0)
    if not (totals > 0).all():
        return 0.0
    logs = np.log(totals)
    return float(np.sqrt((len(logs) - 1) * np.mean(np.square(logs - logs.mean()))))


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
