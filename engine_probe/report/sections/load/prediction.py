"""The label of everything that is predicted: in the title, and first in the verdict."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from engine_probe.analysis.batch.step_prices import beyond, step_sample
from engine_probe.analysis.statistics.student import quantile
from engine_probe.engine.twin.drafts.acceptance import GIVEN
from engine_probe.engine.twin.step_times import REQUEST_TERMS, TERMS
from engine_probe.recordings.run import Run
from engine_probe.report.document import Section, Sentence, Table, table
from engine_probe.text_format import duration

WIDE = 1.25  # an interval from which on it is told as a factor
CONFIDENCE = 0.9
VIRTUAL_CLOCK = "vLLM's scheduler ran on a virtual clock, with step times from"
SOURCES = "Where the step times come from"


def document_title(text: str, runs: Sequence[Run]) -> str:
    return f"Predicted: {text}" if any(run.predicted for run in runs) else text


def step_time_source(run: Run) -> str:
    """Return where a predicted run's step times come from: a folder, or a GPU's datasheet."""
    return str(run.facts["predicted"]["calibrated_from"])


def with_prediction(verdict: Section, runs: Sequence[Run]) -> Section:
    """Return the verdict; that of a twin begins with what it is and how wrong its times may be."""
    predicted = [run for run in runs if run.predicted]
    if not predicted:
        return verdict
    twin = predicted[0].facts["predicted"]
    sentences = [f"{VIRTUAL_CLOCK} {step_time_source(predicted[0])}."]
    if twin.get("bounds"):
        sentences.append("Latencies are at least, and throughput is at most, what stands here: no step can take less.")
    sentences += draft_words([run.facts["predicted"] for run in predicted])
    sentences += [*error_words(twin["step_times"]), *beyond_words(predicted, twin["step_times"].get("prices", {}))]
    return replace(verdict, sentences=(Sentence(" ".join(sentences), "caution", "Predicted"), *verdict.sentences))


def draft_words(twins: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Say how many draft tokens were assumed to be accepted, where there are drafts."""
    assumed = {(found["source"], *map(tuple, (found["accepted"], found["drafted"]))) for found in acceptances(twins)}
    for source, accepted, drafted in sorted(assumed):
        shares, known = shares_words(accepted), source == GIVEN
        yield (
            f"Assumed acceptance of draft tokens, place by place: {shares} of the drafts that reach it "
            f"({source if known else f'measured in {source}'})."
        )
        if drafted:
            yield f"Drafts reach these places in {shares_words(drafted)} of a request's answer steps."
        else:
            yield f"Each answer step drafts {len(accepted)} tokens."
    derived = any(twin["step_times"].get("sources") for twin in twins)  # by formulas, in which drafting is no term
    if derived and any(found["source"] == GIVEN for found in acceptances(twins)):
        yield "Drafting itself takes no time here."


def acceptances(twins: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for twin in twins if (found := twin.get("acceptance"))]


def shares_words(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.1%}" for share in shares)


def error_words(times: dict[str, Any]) -> list[str]:
    """Say how far the recorded times of parts that were left out of the fit lie from their predictions."""
    error, parts = times.get("error"), times.get("recordings", 0)
    if error is None or not parts:
        return []
    factor = math.exp(min(quantile(parts, CONFIDENCE) * error, 100.0))
    within = f"± {factor - 1:.1%}" if factor < WIDE else f"a factor of {factor:.2g}"
    if times.get("sources"):
        return [
            f"The measured kernels' own noise is {within}. The host's part, sampling and what lies between kernels are "
            "not in it."
        ]
    words = [
        f"Checked on {parts} parts that were left out of the fit: nine in ten lie within {within} of the prediction."
    ]
    if times.get("noise") is not None and times.get("starts") is None:
        words.append("All are since one start of the engine: how much another differs is in no interval.")
    return words


def sources_section(runs: Sequence[Run]) -> Section:
    """Return the terms of a prediction's step times: fitted prices, or formulas and figures. Empty for other runs."""
    predicted = [run.facts["predicted"]["step_times"] for run in runs if run.predicted]
    if not predicted:
        return Section(SOURCES)
    times = predicted[0]
    tables = [fitted_table(times)] if times.get("recordings") and not times.get("sources") else []
    if times.get("sources"):
        rows = ((each["part"], each["formula"], each["figures"]) for each in times["sources"])
        tables.append(table(("term", "formula", "from"), rows, words=range(3)))
    return Section(SOURCES, tables=tuple(tables))


def fitted_table(times: dict[str, Any]) -> Table:
    """Return the fitted prices of both parts of a step, with their 95 % intervals, and those of requests."""
    device, host = times.get("prices", {}), times.get("host", {})
    rows = [
        (name, *price_cells(device.get(name)), *price_cells(host.get(name)), meaning)
        for name, meaning in TERMS.items()
        if any((prices.get(name) or {}).get("ns") for prices in (device, host))
    ]
    requests = times.get("requests", {})
    rows += [
        (name, "-", "-", duration(requests[name]["ns"]), "-", meaning)
        for name, meaning in REQUEST_TERMS.items()
        if (requests.get(name) or {}).get("ns")
    ]
    note = "Terms that were not seen apart share their time: their intervals are wide."
    return table(("term", "device", "±", "host", "±", "for"), rows, words=(0, 5), note=note)


def price_cells(price: dict[str, Any] | None) -> tuple[str, str]:
    if not price or not price.get("ns"):
        return "-", "-"
    return duration(price["ns"]), duration(price.get("half_width") or 0.0)


def beyond_words(runs: Sequence[Run], prices: dict[str, Any]) -> list[str]:
    """Name what steps have more of than any step that the prices come from."""
    most = {name: price.get("most") for name, price in prices.items()}
    names = beyond([step_sample(run.facts, run.iterations, run.requests) for run in runs], most)
    if not names:
        return []
    return [f"Some steps have more than any recorded step of these: {', '.join(names)}. Their times are extrapolated."]
