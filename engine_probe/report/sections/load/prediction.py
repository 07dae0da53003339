"""The label of everything that is predicted: in the title, and first in the verdict."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine_probe.analysis.batch.step_prices import beyond, step_sample
from engine_probe.analysis.statistics.student import quantile
from engine_probe.recordings.run import Run
from engine_probe.report.document import Section, Sentence

WIDE = 1.25  # an interval from which on it is told as a factor
CONFIDENCE = 0.9


def document_title(text: str, runs: Sequence[Run]) -> str:
    return f"Predicted: {text}" if any(run.predicted for run in runs) else text


def with_prediction(verdict: Section, runs: Sequence[Run]) -> Section:
    """Return the verdict; that of a twin begins with what it is and how wrong its times may be."""
    predicted = [run for run in runs if run.predicted]
    if not predicted:
        return verdict
    twin = predicted[0].facts["predicted"]
    source = twin["calibrated_from"]
    sentences = [f"vLLM's scheduler ran on a virtual clock, with step times from {source}."]
    if twin.get("bounds"):
        sentences.append("Latencies are at least, and throughput is at most, what stands here: no step can take less.")
    sentences += [*error_words(twin["step_times"]), *beyond_words(predicted, twin["step_times"].get("prices", {}))]
    return replace(verdict, sentences=(Sentence(" ".join(sentences), "caution", "Predicted"), *verdict.sentences))


def error_words(times: dict[str, Any]) -> list[str]:
    """Say how far the recorded times of parts that were left out of the fit lie from their predictions."""
    error, parts = times.get("error"), times.get("recordings", 0)
    if error is None or not parts:
        return []
    factor = math.exp(min(quantile(parts, CONFIDENCE) * error, 100.0))
    within = f"± {factor - 1:.1%}" if factor < WIDE else f"a factor of {factor:.2g}"
    return [
        f"Checked on {parts} parts that were left out of the fit: nine in ten lie within {within} of the prediction."
    ]


def beyond_words(runs: Sequence[Run], prices: dict[str, Any]) -> list[str]:
    """Name what steps have more of than any step that the prices come from."""
    most = {name: price.get("most") for name, price in prices.items()}
    names = beyond([step_sample(run.facts, run.iterations, run.requests) for run in runs], most)
    if not names:
        return []
    return [f"Some steps have more than any recorded step of these: {', '.join(names)}. Their times are extrapolated."]
