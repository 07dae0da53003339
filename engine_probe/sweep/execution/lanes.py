"""What is told of engines that run side by side: each group of points has a lane, and says where its engine is."""

from __future__ import annotations

from typing import Any

import msgspec


class Waiting(msgspec.Struct, frozen=True):
    """Nothing to say until one of the calls to other machines is answered."""


class Placed(msgspec.Struct, frozen=True):
    """This lane's engine has a place: a host, and the cards that are its own there."""

    host: str
    cards: tuple[str, ...] = ()
    process: int = 0  # that the engine's own is a child of
    node: str = ""  # as the cluster calls the machine


class Moved(msgspec.Struct, frozen=True):
    """The point with this number was lost with the place of its engine, and is measured again at another."""

    number: int
    point: str
    host: str
    reason: str


class Left(msgspec.Struct, frozen=True):
    """This lane has nothing more to measure."""


class Words(msgspec.Struct, frozen=True):
    """What vLLM wrote to its log."""

    text: str


class Lane(msgspec.Struct, frozen=True):
    """Something that happened on one of the lanes."""

    number: int
    event: Any
