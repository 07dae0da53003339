"""A curve as the rules of advice see it; a rule yields sentences, each with the rows it rests on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.curve.levels import PointFigures, cache_of
from engine_probe.analysis.curve.saturation import Saturation
from engine_probe.analysis.run.prefix_cache import CacheLoss, cache_loss
from engine_probe.text_format import counted
from engine_probe.workload.load import level_words

Role = Literal["developer", "architect", "provider", "hardware maker"]
Sentences = Iterator[tuple[str, tuple[str, ...]]]

SURE = 0.9
CLEAR = 0.1  # relative difference that counts without repeats


@dataclass(frozen=True)
class Advice:
    role: Role
    text: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class KvPool:
    """The KV pool, and the size of a token in it."""

    blocks: int
    block_tokens: int
    block_bytes: int
    layers: int
    kv_heads: int
    head_size: int

    @property
    def tokens(self) -> int:
        return self.blocks * self.block_tokens

    @property
    def bytes_per_token(self) -> float:
        return self.block_bytes / self.block_tokens

    @property
    def derivation(self) -> str:
        """Return how the bytes per token follow from layers and heads; empty if they do not."""
        values = 2 * self.layers * self.kv_heads * self.head_size
        size = self.bytes_per_token / values if values else 0
        if size not in (1, 2, 4):
            return ""
        each = counted(int(size), "byte")
        return f" = 2 x {self.layers} layers x {self.kv_heads} KV heads x {self.head_size} x {each}"


@dataclass(frozen=True)
class Case:
    """One curve and its engine."""

    settings: Mapping[str, Any]  # in which it differs from the sweep's other curves
    unit: str
    found: Saturation
    figures: Sequence[PointFigures]
    model: str
    pool: KvPool
    ranks: int

    @property
    def label(self) -> str:
        return curve_name(self.settings)

    def at(self, load: float) -> list[PointFigures]:
        return [each for each in self.figures if each.load == load]

    def row(self, load: float) -> str:
        return f"{level_words(load, self.unit)}{f', {self.label}' if self.label else ''}"

    @property
    def cache_loss(self) -> CacheLoss | None:
        return cache_loss(cache_of(self.figures))

    @property
    def holds(self) -> float | None:
        """Return how many requests the pool holds. None unless requests waited for KV blocks at some level."""
        kv = self.found.kv
        return min(kv.derived) if kv.reached is not None and kv.derived else None

    def first_token_ns(self, load: float) -> float:
        """Return the median TTFT, averaged over repeats; zero if not known."""
        values = [each.percentile_ns("TTFT", 50) for each in self.at(load)]
        medians = [value for value in values if value is not None]
        return float(np.mean(medians)) if medians else 0.0
