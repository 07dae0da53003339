"""Events of the host that can hold up an engine: rows of the table `host_events`, appended when they happen."""

from collections import deque
from collections.abc import Callable
from time import monotonic_ns, thread_time_ns
from typing import Any

COLLECTION, COMPILATION = "garbage collection", "compilation"
WRITER, TELEMETRY = "probe's writer", "probe's telemetry"
FAULTS, NO_PROCESSOR = "page faults", "waited for a processor"
OF_RANK = " of rank "  # follows the kind of what happened in a worker's own process

LEAST_NS = 500_000  # a shorter event explains no stall, and there are too many of them to keep
MOST_WAITING_ROWS = 10_000  # if more wait, the writer has ended

Events = deque[tuple[Any, ...]]


def note_event(
    events: Events, start_ns: int, duration_ns: int, kind: str, held_ns: int, number: int | None = None
) -> None:
    """Append an event, unless it is too short; any thread may call this."""
    if duration_ns >= LEAST_NS and len(events) < MOST_WAITING_ROWS:
        events.append((start_ns, duration_ns, kind, held_ns, number))


def note_busy(events: Events, kind: str, work: Callable[[], Any]) -> None:
    """Do some work of the probe's own and note how long it took; it holds up the engine at most for its CPU time."""
    start_ns, cpu_ns = monotonic_ns(), thread_time_ns()
    work()
    note_event(events, start_ns, monotonic_ns() - start_ns, kind, thread_time_ns() - cpu_ns)
