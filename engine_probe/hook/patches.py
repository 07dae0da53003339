"""Replacing methods on instances, and putting everything back: last in, first out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

_MISSING = object()


class Patches:
    """The replaced attributes of one attachment. Classes are never touched, so other engines are not either.

    A replacement takes any arguments and passes them on, and does nothing else unless `on` is set: another tool may
    have wrapped it meanwhile, and then it stays in place when all is undone.
    """

    __slots__ = ("_done", "on")

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []
        self.on = False

    def replace(self, target: Any, name: str, replacement: Callable[..., Any]) -> Callable[..., Any]:
        """Shadow `target.name` on the instance; returns what it was."""
        original: Callable[..., Any] = getattr(target, name)
        self._done.append((target, name, replacement, vars(target).get(name, _MISSING)))
        setattr(target, name, replacement)
        return original

    def undo(self) -> None:
        """Put everything back. Safe to call twice and from any thread. What another tool wrapped is left in place."""
        self.on = False
        while self._done:
            target, name, replacement, before = self._done.pop()
            if vars(target).get(name) != replacement:
                continue
            with suppress(AttributeError):  # another thread, or the target itself, was faster
                if before is _MISSING:
                    delattr(target, name)
                else:
                    setattr(target, name, before)


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str) -> Any:
    """Return an argument of a replaced method, however it was passed; KeyError if this vLLM calls it otherwise."""
    return args[position] if len(args) > position else kwargs[name]
