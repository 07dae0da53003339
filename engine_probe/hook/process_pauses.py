"""Pauses of this process that Python and torch announce: garbage collections and compilations.

Both are told to callbacks when they happen, so that a step costs nothing. A collection stops every Python thread of
the process, whichever thread began it. Each worker in a process of its own has a hook of its own.
"""

import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic_ns as now
from typing import Any

from engine_probe.record.host_events import COLLECTION, COMPILATION, LEAST_NS, Events, note_event


class PauseHook:
    """Notes pauses from its creation until `detach`."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._compilation_ns = 0  # when the one in progress began
        self._lists: list[tuple[list[Any], Callable[..., None]]] = [(gc.callbacks, collection_callback(events))]
        # torch's own list of what to call around a compilation; vLLM loads the module if it compiles at all.
        if handler := getattr(sys.modules.get("torch._dynamo.callback"), "callback_handler", None):
            self._lists.append((handler.start_callbacks, self._note_compilation_start))
            self._lists.append((handler.end_callbacks, self._note_compilation_end))
        for callbacks, callback in self._lists:
            callbacks.append(callback)

    def detach(self) -> None:
        """Remove the callbacks; safe to call twice and from any thread."""
        for callbacks, callback in self._lists:
            with suppress(ValueError):
                callbacks.remove(callback)

    def _note_compilation_start(self, _: object) -> None:
        self._compilation_ns = now()

    def _note_compilation_end(self, _: object) -> None:
        if start := self._compilation_ns:
            duration = now() - start
            note_event(self._events, start, duration, COMPILATION, duration)


def collection_callback(events: Events) -> Callable[[str, dict[str, int]], None]:
    """Return what Python calls around every collection, with a few hundred requests in about every step."""
    start = 0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal start
        if phase == "start":
            start = now()
            return
        duration = now() - start
        if duration >= LEAST_NS and start:  # else it was under way when the callback was added
            note_event(events, start, duration, COLLECTION, duration, info["generation"])

    return note
