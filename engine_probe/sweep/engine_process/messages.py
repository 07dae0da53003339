"""What the engine's process is told, and what it tells: one JSON line each, over pipes of their own."""

from __future__ import annotations

import msgspec

from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.perplexity.scoring import Scoring
from engine_probe.sweep.definition.sweep_file import EngineSection, Point


class Job(msgspec.Struct, frozen=True):
    """The engine; what it measures follows, task by task."""

    engine: EngineSection
    force: bool = False
    need: KvNeed | None = None  # the most KV cache that its points can use


class Task(msgspec.Struct, frozen=True):
    """One point, recorded into this folder."""

    point: Point
    folder: str


class Said(msgspec.Struct, frozen=True, tag=True):
    """A step before the first point that no line of vLLM's log tells."""

    text: str


class Noted(msgspec.Struct, frozen=True, tag=True):
    """A choice made for the user, which stays on the screen."""

    text: str


class Began(msgspec.Struct, frozen=True, tag=True):
    """The point with this number is being measured."""

    number: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """Its recording is closed."""

    number: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """This point cannot be asked of this engine; the engine goes on."""

    number: int
    sentence: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The last word: an error that a person is told."""

    sentence: str
    exit_code: int


Message = Said | Noted | Began | Scoring | Ended | Refused | Failed
