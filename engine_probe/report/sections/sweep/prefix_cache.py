"""The hit rate of the prefix cache at each load: a column and a sentence."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.run.prefix_cache import CacheLoss, cache_loss
from engine_probe.recordings.curve import Curve
from engine_probe.workload.load import level_words


def cache_cell(repeats: Sequence[PointFigures]) -> str:
    """Return the share of prompt tokens found, over the repeats of one load."""
    caches = [repeat.summary.prefix_cache for repeat in repeats if repeat.summary.prefix_cache]
    prompt_tokens = sum(cache.prompt_tokens for cache in caches)
    return f"{sum(cache.found_tokens for cache in caches) / prompt_tokens:.0%}" if prompt_tokens else "-"


def cache_verdict(curve: Curve) -> Iterator[str]:
    levels = curve.cache
    if not levels:
        return
    least, most = (pick(level.share for level in levels) for pick in (min, max))
    if loss := cache_loss(levels):
        yield loss_verdict(loss, curve.unit)
    elif f"{least:.0%}" == f"{most:.0%}":
        yield f"Prefix cache hit rate: {most:.0%} of the prompt tokens at every load."
    else:
        yield f"Prefix cache hit rate: {least:.0%} to {most:.0%} of the prompt tokens, depending on the load."


def loss_verdict(loss: CacheLoss, unit: str) -> str:
    lower = [loss.first] * (loss.first is not loss.last) + [loss.last]
    then = ", ".join(f"{level.share:.0%} at {level.load:g}" for level in lower)
    best = f"{loss.kept.share:.0%} of prompt tokens at {level_words(loss.kept.load, unit)}"
    return f"Prefix cache hit rate: {best}, {then}."


def cache_details(curve: Curve) -> Iterator[str]:
    if loss := cache_loss(curve.cache):
        yield (
            "The pool was full, and unused prefixes were evicted. Prompt tokens computed again because of that are "
            f"{loss.computed_again:.0%} of all tokens scheduled at {loss.last.load:g}."
        )
        yield (
            "Prompt tokens computed again are the fall of the hit rate x prompt tokens; they are not counted as "
            "preemptions."
        )
