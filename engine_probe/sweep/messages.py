"""What the engine's process is told, and what it tells: one JSON line each, over pipes of their own."""

from __future__ import annotations

import msgspec

from engine_probe.sweep.plan import EngineSection, Workload


class Job(msgspec.Struct, frozen=True):
    """One engine, and the points that it measures one after the other, each recorded into its folder."""

    engine: EngineSection
    workloads: list[Workload]
    folders: list[str]
    force: bool = False


class Said(msgspec.Struct, frozen=True, tag=True):
    """What is going on before the first point."""

    text: str


class Began(msgspec.Struct, frozen=True, tag=True):
    """The point with this number is being measured."""

    number: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """Its recording is closed."""

    number: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The last word: an error that a person is told."""

    sentence: str
    exit_code: int


Message = Said | Began | Ended | Failed
