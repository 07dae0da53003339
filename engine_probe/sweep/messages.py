"""What the engine's process tells the one that started it: one JSON line each, over a pipe of their own."""

from __future__ import annotations

import msgspec


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
