"""When a rank's GPU ran its forwards, on the host's clock, without a wait during the recording.

Two CUDA events stand beside each forward: one right before it, one right after it. `elapsed_time` is a 32-bit float of
milliseconds, which holds microseconds only for short distances. So the distances from event to event are chained, as
integers of nanoseconds: hours of steps keep microseconds, and only a long idle gap costs precision (a minute 2 µs).

A device's clock runs at a rate of its own. It is anchored to the host's where the recording begins and ends: an event
on an idle stream lies between two readings of the host's clock. The table rests on the first anchor alone;
`record/device_clock.py` corrects the rate once the second is known.

Each thread that asks CUDA for us chooses the rank's device first: CUDA would otherwise open a context on GPU 0. That
holds for our own, and for the one in which vLLM, or Ray, calls us before and after a recording.
"""

from collections import deque
from contextlib import AbstractContextManager
from time import monotonic_ns as now
from typing import Any

ANCHORS = 8  # of which the narrowest counts


def cuda() -> Any:
    """Return `torch.cuda`. Importing this module loads no torch."""
    import torch

    return torch.cuda


class DeviceEvents:
    """Makes the events of one rank and places them on the host's clock; the worker's thread makes it."""

    def __init__(self, device: Any) -> None:
        self._cuda, self._device = cuda(), device
        self._free: deque[Any] = deque()  # events whose times were read, to be recorded again
        with self.chosen():
            self._last, self._first_ns, self._within_ns = self._anchor()
        self._last_ns = self._first_ns  # the device's time of the last event, on the host's clock by the first anchor

    def choose_device(self) -> None:
        """Make the rank's device the current one of the calling thread."""
        self._cuda.set_device(self._device)

    def chosen(self) -> AbstractContextManager[None]:
        """Make it the current one only within the block, for a thread that is vLLM's or Ray's."""
        device: AbstractContextManager[None] = self._cuda.device(self._device)
        return device

    def record(self) -> Any:
        """Record an event on the current stream."""
        event = self._free.popleft() if self._free else self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def place(self, start: Any, end: Any) -> tuple[int, int]:
        """Return when the device passed `start`, and how long after that `end`; pairs must come in their order."""
        start_ns = self._last_ns + elapsed_ns(self._last, start)
        duration = elapsed_ns(start, end)
        self._free.extend((self._last, start))
        self._last, self._last_ns = end, start_ns + duration
        return start_ns, duration

    def clock(self) -> dict[str, Any]:
        """Return both anchors, the second of which is taken now; the worker's thread calls this at the end."""
        with self.chosen():
            event, host_ns, within_ns = self._anchor()
        device_ns = self._last_ns + elapsed_ns(self._last, event)
        return {
            "begin": {"host_ns": self._first_ns, "device_ns": self._first_ns, "within_ns": self._within_ns},
            "end": {"host_ns": host_ns, "device_ns": device_ns, "within_ns": within_ns},
        }

    def _anchor(self) -> tuple[Any, int, int]:
        """Return an event, the host's time at which the device passed it, and the distance this may be wrong by."""
        tries = []
        for number in range(ANCHORS):
            event = self._cuda.Event(enable_timing=True)
            before = now()
            event.record()
            event.synchronize()
            after = now()
            tries.append((after - before, number, event, (before + after) // 2))
        width, _, event, middle = min(tries)
        return event, middle, -(-width // 2)


def elapsed_ns(earlier: Any, later: Any) -> int:
    milliseconds: float = earlier.elapsed_time(later)
    return round(milliseconds * 1e6)
