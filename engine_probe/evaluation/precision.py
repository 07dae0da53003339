"""The engines of a sweep compared with the first: perplexity on one text, throughput at the best load, memory."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine_probe.analysis.compare.changes import Change, difference
from engine_probe.analysis.curve.levels import Rate, held_rate, while_held, whole_run_rate
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.rank_tests import corrected
from engine_probe.analysis.statistics.repeats import Repeated, repeated
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.recordings.perplexity import TextPoint, changed
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.text_format import counted


@dataclass(frozen=True)
class ScoredEngine:
    """Holds the figures of one engine; relative ones are to the first engine's."""

    name: str
    text: TextPoint
    change: Change | None  # of perplexity; None for the first engine, and if the two cannot be compared
    why_not: str  # why the two cannot be compared
    rate: Repeated | None  # output tokens per second at the load where they are highest, while it was held
    at: str  # that load
    relative_rate: float | None
    rate_p: float | None  # of Welch's test, repeats against those of the first engine
    weights_bytes: int | None  # of all ranks, as vLLM counts them
    relative_weights: float | None
    kv_tokens: int | None  # size of the KV pool


def engines(swept: Swept) -> list[ScoredEngine]:
    """Return the engines that scored the text, in the order of the sweep file."""
    if not swept.texts:
        return []
    first = swept.texts[0]
    changes = {text.id: changed(first, text) for text in swept.texts[1:]}
    judged = iter(corrected([change for change in changes.values() if isinstance(change, Change)]))
    results = {id_: next(judged) if isinstance(change, Change) else change for id_, change in changes.items()}
    by_id = {point.id: point for point in swept.points}
    measured = {text.id: [by_id[id_] for id_ in text.beside if by_id[id_].analysis] for text in swept.texts}
    rate_of = common_rate(list(measured.values()))
    base_rates, base_weights = best(measured[first.id], rate_of)[1], weights(measured[first.id])
    names = short_names([name_of(text) for text in swept.texts])
    return [
        engine(name, text, results.get(text.id, ""), measured[text.id], rate_of, base_rates, base_weights)
        for name, text in zip(names, swept.texts, strict=True)
    ]


def name_of(text: TextPoint) -> str:
    return text.label or (text.measured.precision.words if text.measured else text.id)


def short_names(names: Sequence[str]) -> list[str]:
    """Shorten model folders to their last part, if the names stay different."""
    short = [re.sub(r"\bmodel \S*/(?=[^/\s])", "", name) for name in names]
    return short if len(set(short)) == len(short) else list(names)


def engine(
    name: str,
    text: TextPoint,
    change: Change | str,
    points: Sequence[SweptPoint],
    rate_of: Rate,
    base_rates: Sequence[float],
    base_weights: int | None,
) -> ScoredEngine:
    at, rates = best(points, rate_of)
    rate, base = repeated(rates), repeated(base_rates)
    weights_bytes = weights(points)
    kv = next((point.run.facts["kv"] for point in points if point.run), None)
    return ScoredEngine(
        name=name,
        text=text,
        change=change if isinstance(change, Change) else None,
        why_not="" if isinstance(change, Change) else change,
        rate=rate,
        at=at,
        relative_rate=rate.mean / base.mean if rate and base and base.mean else None,
        rate_p=difference(base_rates, rates)[0],
        weights_bytes=weights_bytes,
        relative_weights=weights_bytes / base_weights if weights_bytes is not None and base_weights else None,
        kv_tokens=None if kv is None else kv["blocks"] * kv["block_size_tokens"],
    )


def common_rate(engines: Sequence[Sequence[SweptPoint]]) -> Rate:
    """Return the throughput that is compared: while the load was held, if the curves of all engines have that."""
    curves = ([point.figures for point in points if point.figures] for points in engines)
    return held_rate if all(while_held(figures) for figures in curves) else whole_run_rate


def best(points: Sequence[SweptPoint], rate_of: Rate) -> tuple[str, list[float]]:
    """Return the load with the highest mean output rate, and the rates of its repeats."""
    ordered = sorted(points, key=lambda point: (point.load, point.unit))
    levels: list[tuple[str, list[float]]] = []
    for (load, unit), same in grouped(ordered, lambda point: (point.load, point.unit)).items():
        rates = [rate for point in same if point.figures and (rate := rate_of(point.figures)) is not None]
        if rates:
            levels.append((f"{load:g} {unit}", rates))
    return max(levels, key=lambda level: sum(level[1]) / len(level[1]), default=("", []))


def weights(points: Sequence[SweptPoint]) -> int | None:
    """Return the bytes of the weights of the first point that has the figure."""
    sizes = (point.run.weights_bytes for point in points if point.run)
    return next((size for size in sizes if size is not None), None)


JUDGED = "Changes are tested on paired differences of the same windows, Holm-corrected."


def text_definition(texts: Sequence[TextPoint]) -> Iterator[str]:
    """Say how the text was scored, with the formula, and what the interval means."""
    measured = next((text.measured for text in texts if text.measured), None)
    if measured is None:
        return
    quality, count, tokens = measured.asked, len(measured.window_tokens), sum(measured.window_tokens)
    if measured.words is not None and measured.documents is not None:
        documents = counted(measured.documents, "document")
        yield (
            f"Per word, of {Path(quality.text).name}, as lm_eval counts it: exp(sum of -ln p over {tokens:,} tokens / "
            f"{measured.words:,} words), {documents} in rolling windows of {quality.window:,}. "
            "Perplexity per token: exp(that sum / tokens)."
        )
        return
    overlap = f" with an overlap of {quality.overlap:,}, scored once" if quality.overlap else " without overlap"
    bos = {
        "window": "each begins with the tokenizer's own beginning (BOS)",
        "tokenizer": "the text begins with BOS" if measured.bos_added else "the tokenizer adds no BOS",
        "none": "none begins with BOS",
    }[quality.bos]
    joined = ", its lines joined by empty ones" if quality.lines == "joined" else ""
    yield (
        f"Perplexity of {Path(quality.text).name}{joined}: exp(mean of -ln p) over {tokens:,} tokens in {count:,} "
        f"windows of {quality.window:,}{overlap}; {bos}; {unscored(quality)}; {measured.unused_tokens:,} tokens at the "
        "end are in no window."
    )
    yield "±: 95% interval for other texts of this kind; for this text the value is exact."


def unscored(quality: Quality) -> str:
    """Say which tokens are not scored because nothing stands before them."""
    if quality.bos == "window":
        return "every token is predicted"
    return (
        "all but the first token are predicted" if quality.overlap else "the first token of a window is not predicted"
    )
