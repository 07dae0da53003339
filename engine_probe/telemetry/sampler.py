"""Asks the cards and the host every 50 ms, in a thread of its own, and hands the rows to the recorder.

It never reaches the engine: what cannot be read is null and said once in `run.json`, what fails in here ends the
sampling and is kept as a traceback.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from engine_probe.errors import InputError
from engine_probe.record.recorder import Recorder
from engine_probe.record.schema import SCHEMAS
from engine_probe.telemetry.cards import Card, open_cards, our_processes
from engine_probe.telemetry.host import Host

logger = logging.getLogger(__name__)

Period = bool | float  # on, off, or the seconds between two samples
Tell = Callable[[dict[str, Any]], None]  # hears what `run.json` is to say, whenever a note comes up
LoadNvml = Callable[[], tuple[Any, str | None]]  # the module pynvml, or why there is none
PERIOD_SECONDS, LEAST_SECONDS = 0.05, 0.001
SLOW_NS = 1_000_000_000  # between two readings of what costs much or changes little
MOST_WAITING = 100_000  # rows that nobody takes: the writer is gone
COLUMNS: tuple[str, ...] = tuple(SCHEMAS["telemetry"].names[2:])  # after the time and the device


class Sampler:
    """Samples between `start` and `stop`, or as a context manager."""

    def __init__(
        self,
        recorder: Recorder,
        period: Period = True,
        load_nvml: LoadNvml | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._recorder, self._clock = recorder, clock
        self.period_seconds = checked_period(period)
        self._load_nvml = load_nvml or initialised_nvml
        self._nvml: Any = None
        self._cards: list[Card] = []
        self._host: Host | None = None
        self._notes: list[str] = []
        self._next_slow_ns = 0
        self._tell: Tell | None = None
        self._told: tuple[list[str], str | None] = ([], None)
        self._pids: frozenset[int] = frozenset()
        self.stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.samples = self.missed = self.cpu_ns = 0
        self.failure: str | None = None

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, tell: Tell | None = None) -> None:
        """`tell` is called from the sampler's thread, so that a run that is cut has its notes too."""
        self._tell = tell
        if self.period_seconds is None:
            return
        self._thread = threading.Thread(target=self._run, name="engine_probe-telemetry", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads
            self._thread = None
            self._fail(error)

    def stop(self) -> dict[str, Any]:
        """Ends the sampling; what `run.json` says of it."""
        self.stopping.set()
        if self._thread is not None:
            self._thread.join()
        return self._facts()

    def _facts(self) -> dict[str, Any]:
        return {
            "period_seconds": self.period_seconds,
            "samples": self.samples,
            "missed_samples": self.missed,
            "cpu_ns": self.cpu_ns,
            "devices": [card.facts for card in self._cards],
            "notes": self._all_notes(),
            "failure": self.failure,
        }

    def _all_notes(self) -> list[str]:
        known = self._knows_ours
        return [*self._notes, *(note for card in self._cards for note in card.notes(known))]

    def _tell_news(self) -> None:
        """What cannot be told now is told at the end."""
        news = self._all_notes(), self.failure
        if self._tell is not None and news != self._told:
            self._told = news
            with suppress(OSError):
                self._tell(self._facts())

    def _run(self) -> None:
        try:
            with closing(self):
                self.open()
                self._sample_until_stopped()
        except Exception as error:  # whatever it is, it must not reach the engine
            self._fail(error)
        with suppress(Exception):
            self._tell_news()
        self.cpu_ns = time.thread_time_ns()

    def _sample_until_stopped(self) -> None:
        assert self.period_seconds is not None
        period_ns = round(self.period_seconds * 1e9)
        due_ns, looked_ns = self._clock(), 0
        while True:
            self.sample()
            if self._next_slow_ns != looked_ns:  # once a second
                looked_ns = self._next_slow_ns
                self._tell_news()
            late = max(0, self._clock() - due_ns) // period_ns
            self.missed += late
            due_ns += period_ns * (1 + late)
            if self.stopping.wait(max(0, due_ns - self._clock()) / 1e9):
                return

    def open(self) -> None:
        """Everything that takes a while happens in the sampler's own thread."""
        self._host = Host()
        self._notes += self._host.notes
        self._nvml, why_none = self._load_nvml()
        if self._nvml is not None:
            self._cards, notes = open_cards(self._nvml)
            self._notes += notes
        if not self._cards:
            self._notes.append(f"no NVIDIA device ({why_none or 'none is visible'}): rows of the host only")

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None

    @property
    def _knows_ours(self) -> bool:
        return any(card.is_ours for card in self._cards)

    def sample(self) -> None:
        """One row of the host and one of each card; of cards that others use, where that is known, once a second."""
        now_ns = self._clock()
        slow = now_ns >= self._next_slow_ns
        if slow:
            self._next_slow_ns = now_ns + SLOW_NS
            self._pids = our_processes() if self._cards else self._pids
        assert self._host is not None
        self._append(now_ns, None, self._host.read(now_ns, slow))
        known = self._knows_ours
        for card in self._cards:
            if not card.lost and (slow or card.is_ours or not known):
                now_ns = self._clock()
                found = card.read(now_ns, slow, self._pids)
                if not card.lost:
                    self._append(now_ns, card.device, found)
        self.samples += 1

    def _append(self, now_ns: int, device: int | None, found: dict[str, Any]) -> None:
        waiting = self._recorder.telemetry
        if len(waiting) >= MOST_WAITING:
            raise BufferError(f"{MOST_WAITING} rows wait and nobody writes them")
        waiting.append((now_ns, device, *map(found.get, COLUMNS)))

    def _fail(self, error: Exception) -> None:
        self.failure = "".join(traceback.format_exception(error))
        logger.warning("engine_probe stopped sampling devices and host; everything else goes on\n%s", self.failure)


def checked_period(period: Period) -> float | None:
    """Seconds; None for no telemetry."""
    if isinstance(period, bool):
        return PERIOD_SECONDS if period else None
    if not isinstance(period, int | float) or not LEAST_SECONDS <= period < math.inf:
        raise InputError(
            f"telemetry is {period!r}: give True, False or the seconds between two samples, at least {LEAST_SECONDS}"
        )
    return float(period)


def initialised_nvml() -> tuple[Any, str | None]:
    """The module pynvml, ready to be asked, or why it is not."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, str(error)
    return pynvml, None
