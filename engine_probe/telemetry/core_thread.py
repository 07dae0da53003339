"""What the kernel did to the engine core's thread between two samples: page faults, and waiting for a processor.

Read from the kernel's files of that thread, by the thread that samples: the engine's own thread does nothing for it.
"""

import os
from pathlib import Path
from typing import NamedTuple

from engine_probe.record.host_events import FAULTS, LEAST_NS, NO_PROCESSOR, Events, note_event
from engine_probe.telemetry.host import PROC

FILES = ("stat", "status", "schedstat")
SWITCHES = b"nonvoluntary_ctxt_switches:"
# Places in `stat` behind the name of the thread, which may hold spaces.
MINOR_FAULTS, MAJOR_FAULTS, SYSTEM_TICKS, DISK_TICKS = 7, 9, 12, 39


class ThreadReading(NamedTuple):
    faults: int
    fault_ticks: int  # in the kernel, and waiting for the disk
    switches: int
    waited_ns: int  # ready to run, but no processor was free


class CoreThread:
    """Notes an event for each time between two samples in which the thread was held up."""

    def __init__(self, events: Events, proc: Path = PROC) -> None:
        self._events, self._proc = events, proc
        self._tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        self._thread = 0
        self._files: list[int] = []
        self._last: tuple[int, ThreadReading] | None = None
        self.notes: list[str] = []

    def sample(self, now_ns: int, thread: int) -> None:
        """Read the files of a thread (by the kernel's number; 0 if it is not known yet)."""
        if thread != self._thread:
            self.close()
            self._thread = thread
            self._files = self._opened() if thread else []
        if not self._files:
            return
        try:
            reading = reading_of(*(os.pread(file, 4096, 0) for file in self._files))
        except (OSError, ValueError, IndexError):  # the thread has ended
            self.close()
            return
        if self._last is not None:
            self._note(*self._last, now_ns, reading)
        self._last = now_ns, reading

    def _opened(self) -> list[int]:
        """Open the files; without one of them, none is read, and a note says so once."""
        files: list[int] = []
        try:
            for name in FILES:
                files.append(os.open(self._proc / "self/task" / str(self._thread) / name, os.O_RDONLY))
        except OSError as error:
            for file in files:
                os.close(file)
            note = f"engine core's thread: no page faults and no waits for a processor ({name}: {error.strerror})"
            self.notes += [note] if note not in self.notes else []
            return []
        return files

    def _note(self, then_ns: int, before: ThreadReading, now_ns: int, after: ThreadReading) -> None:
        faults, ticks, switches, waited_ns = (new - old for new, old in zip(after, before, strict=True))
        if faults and ticks * self._tick_ns >= LEAST_NS:
            note_event(self._events, then_ns, now_ns - then_ns, FAULTS, ticks * self._tick_ns, faults)
        if waited_ns >= LEAST_NS:
            note_event(self._events, then_ns, now_ns - then_ns, NO_PROCESSOR, waited_ns, switches)

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files, self._last = [], None


def reading_of(stat: bytes, status: bytes, schedstat: bytes) -> ThreadReading:
    fields = stat.rpartition(b")")[2].split()
    minor, major, system, disk = (int(fields[at]) for at in (MINOR_FAULTS, MAJOR_FAULTS, SYSTEM_TICKS, DISK_TICKS))
    switches = int(status.rpartition(SWITCHES)[2].split()[0])
    return ThreadReading(minor + major, system + disk, switches, int(schedstat.split()[1]))
