"""The thread that samples the GPUs and the host every 50 ms and appends the rows to the recorder.

No failure here reaches the engine. A reading that fails is null and named once in `run.json`; any other error ends the
sampling and its traceback is stored.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any

from engine_probe.errors import InputError
from engine_probe.record.host_events import TELEMETRY, note_busy
from engine_probe.record.recorder import Recorder
from engine_probe.record.schema import SCHEMAS
from engine_probe.telemetry.core_thread import CoreThread
from engine_probe.telemetry.gpu_choice import open_gpus
from engine_probe.telemetry.gpus import GpuReader, our_processes
from engine_probe.telemetry.host import HostReader

logger = logging.getLogger(__name__)

Period = bool | float  # on, off, or the seconds between two samples
SaveFacts = Callable[[dict[str, Any]], None]  # writes the sampler's facts into run.json
LoadNvml = Callable[[], tuple[Any, str | None]]  # returns the module pynvml, or the reason why it cannot be used
PERIOD_SECONDS, MIN_PERIOD_SECONDS = 0.05, 0.001
SLOW_NS = 1_000_000_000  # between two readings of values that cost much or change little
MAX_WAITING_ROWS = 100_000  # if more rows wait, the writer has ended
COLUMNS: tuple[str, ...] = tuple(name for name in SCHEMAS["telemetry"].names if name not in ("time_ns", "device"))


class Sampler:
    """Samples between `start` and `stop`."""

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
        self._gpus: list[GpuReader] = []
        self._host: HostReader | None = None
        self._core = CoreThread(recorder.host_events)
        self._notes: list[str] = []
        self._ranks: Sequence[str] = ()
        self._next_slow_ns = 0
        self._save: SaveFacts | None = None
        self._saved: tuple[list[str], str | None] = ([], None)  # the notes and the failure that run.json has
        self._pids: frozenset[int] = frozenset()
        self.stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.samples = self.missed = self.cpu_ns = 0
        self.failure: str | None = None

    def start(self, save: SaveFacts | None = None, ranks: Sequence[str] = ()) -> None:
        """Start the thread, given the UUIDs of the GPUs that the engine's ranks run on, as far as they are known.

        It calls `save` when a note is new, so that a run that is cut has its notes too.
        """
        self._save, self._ranks = save, ranks
        if self.period_seconds is None:
            return
        self._thread = threading.Thread(target=self._run, name="engine_probe-telemetry", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads
            self._thread = None
            self._fail(error)

    def stop(self) -> dict[str, Any]:
        """End the sampling and return its facts for `run.json`."""
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
            "devices": [gpu.facts for gpu in self._gpus],
            "notes": self._all_notes(),
            "failure": self.failure,
        }

    def _all_notes(self) -> list[str]:
        some_are_ours = self._some_are_ours
        return [*self._notes, *self._core.notes, *(note for gpu in self._gpus for note in gpu.notes(some_are_ours))]

    def _save_new_notes(self) -> None:
        """Save the facts if a note or the failure is new. If the disk is full, the end of the run tries again."""
        current = self._all_notes(), self.failure
        if self._save is not None and current != self._saved:
            self._saved = current
            with suppress(OSError):
                self._save(self._facts())

    def _run(self) -> None:
        try:
            with closing(self):
                self.open()
                self._sample_until_stopped()
        except Exception as error:  # no error may reach the engine
            self._fail(error)
        with suppress(Exception):
            self._save_new_notes()
        self.cpu_ns = time.thread_time_ns()

    def _sample_until_stopped(self) -> None:
        assert self.period_seconds is not None
        period_ns = round(self.period_seconds * 1e9)
        due_ns, last_slow_ns = self._clock(), 0
        while True:
            note_busy(self._recorder.host_events, TELEMETRY, self.sample)
            if self._next_slow_ns != last_slow_ns:  # once a second
                last_slow_ns = self._next_slow_ns
                self._save_new_notes()
            late = max(0, self._clock() - due_ns) // period_ns
            self.missed += late
            due_ns += period_ns * (1 + late)
            if self.stopping.wait(max(0, due_ns - self._clock()) / 1e9):
                return

    def open(self) -> None:
        """Open the host's files and NVML; this takes a while and runs in the sampler's thread."""
        self._host = HostReader()
        self._notes += self._host.notes
        self._nvml, reason = self._load_nvml()
        if self._nvml is not None:
            self._gpus, notes = open_gpus(self._nvml, ranks=self._ranks)
            self._notes += notes
        if not self._gpus:
            self._notes.append(f"no NVIDIA device ({reason or 'none is visible'}): rows of the host only")

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
        self._core.close()
        for gpu in self._gpus:
            gpu.close()
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None

    @property
    def _some_are_ours(self) -> bool:
        return any(gpu.is_ours for gpu in self._gpus)

    def sample(self) -> None:
        """Append a row of the host and one of each GPU; GPUs known to be used by others only once a second."""
        now_ns = self._clock()
        slow = now_ns >= self._next_slow_ns
        if slow:
            self._next_slow_ns = now_ns + SLOW_NS
            self._pids = our_processes() if self._gpus else self._pids
        assert self._host is not None
        self._append(now_ns, None, self._host.read(now_ns, slow))
        self._core.sample(now_ns, self._recorder.core_thread)
        some_are_ours = self._some_are_ours
        for gpu in self._gpus:
            if not gpu.lost and (slow or gpu.is_ours or not some_are_ours):
                now_ns = self._clock()
                row = gpu.read(now_ns, slow, self._pids)
                if not gpu.lost:
                    self._append(now_ns, gpu.device, row)
        self.samples += 1

    def _append(self, now_ns: int, device: int | None, row: dict[str, Any]) -> None:
        waiting = self._recorder.telemetry
        if len(waiting) >= MAX_WAITING_ROWS:
            raise BufferError(f"{MAX_WAITING_ROWS} rows wait and nobody writes them")
        waiting.append((now_ns, device, *map(row.get, COLUMNS)))

    def _fail(self, error: Exception) -> None:
        self.failure = "".join(traceback.format_exception(error))
        logger.warning("engine_probe stopped sampling devices and host; everything else goes on\n%s", self.failure)


def checked_period(period: Period) -> float | None:
    """Return the seconds between two samples; None if telemetry is off."""
    if isinstance(period, bool):
        return PERIOD_SECONDS if period else None
    if not isinstance(period, int | float) or not MIN_PERIOD_SECONDS <= period < math.inf:
        raise InputError(
            f"telemetry is {period!r}: give True, False or the seconds between two samples, "
            f"at least {MIN_PERIOD_SECONDS}"
        )
    return float(period)


def initialised_nvml() -> tuple[Any, str | None]:
    """Return the module pynvml once NVML is initialised, else None and the reason."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, str(error)
    return pynvml, None
