"""What the hooks on rare events leave for the hot path, which looks once per step."""

from __future__ import annotations


class Marks:
    """Shared by the counters of one attachment."""

    __slots__ = ("changed", "own_ns")

    def __init__(self) -> None:
        self.changed = True  # something happened since the last note: the next iteration needs one
        self.own_ns = 0  # what the probe spent on such events since the last row
