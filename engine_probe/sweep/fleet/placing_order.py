"""The order in which engines that run together get their machines: small ones would take the room of large ones."""

import threading
from collections.abc import Sequence

from engine_probe.sweep.execution.engine_run import TICK_SECONDS
from engine_probe.sweep.replicas.start_gate import StartSlot


class LargestFirst:
    """Knows the sizes of the engines, and which of them have a machine."""

    def __init__(self, gpus: Sequence[int]) -> None:
        self._gpus = gpus
        self._placed: set[int] = set()
        self._changed = threading.Condition()

    def wait(self, number: int, slot: StartSlot | None) -> None:
        """Block until all larger engines have a machine. Raise if the point is over before."""
        larger = {other for other, gpus in enumerate(self._gpus) if gpus > self._gpus[number]}
        with self._changed:
            while not larger <= self._placed:
                self._changed.wait(TICK_SECONDS)
                if slot is not None:
                    slot.check()

    def note(self, number: int, is_placed: bool) -> None:
        with self._changed:
            (self._placed.add if is_placed else self._placed.discard)(number)
            self._changed.notify_all()
