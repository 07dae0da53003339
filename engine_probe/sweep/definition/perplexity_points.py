"""The text that every engine of a sweep is to predict: a point of its own, after the others of its engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from engine_probe.engine.build import max_context
from engine_probe.engine.models.catalogue import catalogue_names
from engine_probe.errors import InputError
from engine_probe.perplexity.scoring import LOGITS, check_window
from engine_probe.perplexity.spec import Quality
from engine_probe.perplexity.text import read_text
from engine_probe.sweep.definition.axes import combinations, documents, label
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, SweepFile

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "tekken.json", "*.tiktoken")
QUALITY = "quality."


def texts(sweep: SweepFile) -> list[Point]:
    """One for each engine; last, because what is scored takes memory beside the pool, and an engine may die of it."""
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
    """What is wrong without looking at the text; a dry run needs no more."""
    if sweep.quality is None:
        return
    if sweep.adaptive is not None:
        raise InputError("quality is measured beside a grid: leave [adaptive] out, or measure it by itself")
    sweep.quality.check(QUALITY)
    for point in texts(sweep):
        check_predictor(point.engine, sweep.quality, QUALITY)


def check_predictor(engine: EngineSection, asked: Quality, where: str = "") -> None:
    """A model that cannot say anything about a text, or not about so long a window of it."""
    arguments = engine.arguments
    if engine.model in catalogue_names() or arguments.get("load_format") == "dummy":
        raise InputError(
            f"{where}text: the weights of {engine.model} are dummies, which predict nothing: give a folder with weights"
        )
    if arguments.get("skip_tokenizer_init"):
        raise InputError(f"{where}text: skip_tokenizer_init leaves the model without a tokenizer: leave it out")
    if arguments.get("logprobs_mode") in LOGITS:
        raise InputError(f'{where}text: logprobs_mode "{arguments["logprobs_mode"]}" is no probability: leave it out')
    folder = Path(engine.model).expanduser()
    if folder.is_dir() and "tokenizer" not in arguments and not any(any(folder.glob(name)) for name in TOKENIZERS):
        raise InputError(f"{where}text: {engine.model} holds no tokenizer: put it there, or name one with tokenizer")
    told = arguments.get("max_model_len")
    if isinstance(told, int):
        check_window(asked, told, where)
    elif "hf_overrides" not in arguments and (longest := max_context(engine.model)) is not None:
        check_window(asked, longest, where, f"what {engine.model} takes", "or another model")


def check_texts(points: Iterable[Point]) -> None:
    """The text is there, and is one."""
    for asked in dict.fromkeys(point.quality for point in points):
        if asked is not None:
            read_text(asked, f"{QUALITY}text: ", "name yours with --set quality.text=FILE")
