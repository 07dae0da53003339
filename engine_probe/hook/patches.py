"""Replacing methods on instances, and putting everything back: last in, first out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MISSING = object()


class Patches:
    """The replaced attributes of one attachment. Classes are never touched, so other engines are not either."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []

    def replace(self, target: Any, name: str, replacement: Callable[..., Any]) -> Callable[..., Any]:
        """Shadow `target.name` on the instance; returns what it was."""
        original: Callable[..., Any] = getattr(target, name)
        self._done.append((target, name, replacement, vars(target).get(name, _MISSING)))
        setattr(target, name, replacement)
        return original

    def undo(self) -> None:
        """Safe to call twice and from any thread. What somebody else put on top of ours is left to them."""
        while self._done:
            target, name, replacement, before = self._done.pop()
            if vars(target).get(name) != replacement:
                continue
            if before is _MISSING:
                delattr(target, name)
            else:
                setattr(target, name, before)
