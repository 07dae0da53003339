"""What the hooks on rare events leave for the hot path, which looks at it once per step."""

from __future__ import annotations


class RareEvents:
    """Is shared by the counters of one attachment."""

    __slots__ = ("changed", "left_core_ns", "probe_ns")

    def __init__(self) -> None:
        self.changed = True  # an event happened since the last note: the next iteration needs one
        self.probe_ns = 0  # time the probe spent on events since the last row
        self.left_core_ns = 0  # when the last schedule() or update_from_output() returned
