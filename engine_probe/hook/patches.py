"""Methods replaced on instances and put back, last in, first out."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

_MISSING = object()


class Patches:
    """Holds the replaced methods of one attachment. Classes are never changed, so other engines are not either.

    Every replacement must accept any arguments, and must only pass them on unless `active` is set: if another tool has
    wrapped a replacement in the meantime, `undo` has to leave it in place.
    """

    __slots__ = ("_replaced", "active")

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any, Any]] = []
        self.active = False

    def replace(self, target: Any, name: str, replacement: Callable[..., Any]) -> Callable[..., Any]:
        """Replace `target.name` on the instance and return the original."""
        original: Callable[..., Any] = getattr(target, name)
        self._replaced.append((target, name, replacement, vars(target).get(name, _MISSING)))
        setattr(target, name, replacement)
        return original

    def undo(self) -> None:
        """Put every method back, except those another tool has wrapped, which a further call puts back.

        Safe to call from any thread, also twice at the same time.
        """
        self.active = False
        for target, name, replacement, before in reversed(tuple(self._replaced)):
            if vars(target).get(name) != replacement:
                continue
            with suppress(AttributeError):  # another thread, or the target itself, has removed it
                if before is _MISSING:
                    delattr(target, name)
                else:
                    setattr(target, name, before)


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str) -> Any:
    """Return an argument of a replaced method, however it was passed; KeyError if this vLLM calls it otherwise."""
    return args[position] if len(args) > position else kwargs[name]
