"""The perplexity points of a sweep: one for each engine, measured after the engine's other points."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from engine_probe.engine.build import max_context
from engine_probe.engine.models.catalogue import catalogue_names
from engine_probe.errors import InputError
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.perplexity.scoring import LOGITS, check_window
from engine_probe.perplexity.text import read_text
from engine_probe.sweep.definition.axes import combinations, documents, label
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, SweepFile

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "tekken.json", "*.tiktoken")
QUALITY = "quality."


def texts(sweep: SweepFile) -> list[Point]:
    """Return a perplexity point for each engine.

    It comes last, because scoring takes memory besides the pool, of which an engine may die.
    """
    if sweep.quality is None:
        return []
    combined = combinations(sweep.axes, sweep.include, sweep.exclude)
    varying = [name for name in sweep.axes if len({repr(chosen[name]) for chosen in combined}) > 1]
    varying = [name for name in varying if name.startswith("engine.")]
    found: dict[str, Point] = {}
    base = {"engine": msgspec.to_builtins(sweep.engine)}
    for chosen, document in zip(combined, documents(base, combined), strict=True):
        engine = msgspec.convert(document["engine"], EngineSection)
        found.setdefault(engine.spec.key, text_point(engine, sweep, label(chosen, varying)))
    return list(found.values())


def text_point(engine: EngineSection, sweep: SweepFile, words: str) -> Point:
    asked = Point(engine, sweep.workload, label=f"perplexity, {words}" if words else "perplexity")
    return msgspec.structs.replace(asked, quality=sweep.quality)


def check_quality(sweep: SweepFile) -> None:
    """Refuse what is wrong with [quality] before the text is read."""
    if sweep.quality is None:
        return
    if sweep.adaptive is not None:
        raise InputError("quality cannot be measured in a search: leave [adaptive] out, or use a sweep of its own")
    sweep.quality.check(QUALITY)
    for point in texts(sweep):
        check_predictor(point.engine, sweep.quality, QUALITY)


def check_predictor(engine: EngineSection, asked: Quality, where: str = "") -> None:
    """Refuse a model that cannot predict a text, or not windows of this length."""
    arguments = engine.arguments
    if engine.model in catalogue_names() or arguments.get("load_format") == "dummy":
        raise InputError(
            f"{where}text: {engine.model} has dummy weights, which predict nothing: give a folder with real weights"
        )
    if arguments.get("skip_tokenizer_init"):
        raise InputError(
            f"{where}text: skip_tokenizer_init leaves the model without a tokenizer: leave that argument out"
        )
    if arguments.get("logprobs_mode") in LOGITS:
        raise InputError(
            f'{where}text: logprobs_mode "{arguments["logprobs_mode"]}" gives no probability: leave it out'
        )
    folder = Path(engine.model).expanduser()
    if folder.is_dir() and "tokenizer" not in arguments and not any(any(folder.glob(name)) for name in TOKENIZERS):
        raise InputError(f"{where}text: {engine.model} holds no tokenizer: add one, or name one with tokenizer")
    max_model_len = arguments.get("max_model_len")
    if isinstance(max_model_len, int):
        check_window(asked, max_model_len, where)
    elif "hf_overrides" not in arguments and (longest := max_context(engine.model)) is not None:
        check_window(asked, longest, where, f"what {engine.model} takes", "or another model")


def check_texts(points: Iterable[Point]) -> None:
    """Refuse a text that is missing or not UTF-8."""
    for asked in dict.fromkeys(point.quality for point in points):
        if asked is not None:
            read_text(asked, f"{QUALITY}text: ", "give yours with --set quality.text=FILE")
