"""What a window between two samples of the engine core's thread leaves, from the kernel's files."""

from __future__ import annotations

import mmap
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_probe.telemetry.core_thread import CoreThread

MS = 1_000_000
THREAD = 77


class Kernel:
    """The files of one thread, named like a process that means harm."""

    def __init__(self, proc: Path) -> None:
        self.folder = proc / "self" / "task" / str(THREAD)
        self.folder.mkdir(parents=True)
        self.write()

    def write(self, minor: int = 0, major: int = 0, system: int = 0, disk: int = 0, switches: int = 0, waited: int = 0):
        fields = ["0"] * 50
        fields[7], fields[9], fields[12], fields[39] = map(str, (minor, major, system, disk))
        (self.folder / "stat").write_text(f"{THREAD} (a) S 1 2) " + " ".join(["R", *fields[1:]]))
        (self.folder / "status").write_text(
            f"Name: a\nvoluntary_ctxt_switches:\t9\nnonvoluntary_ctxt_switches:\t{switches}\n"
        )
        (self.folder / "schedstat").write_text(f"123456 {waited} 42\n")


@pytest.fixture
def events() -> deque[tuple[Any, ...]]:
    return deque()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.fixture
def core(tmp_path: Path, kernel: Kernel, events: deque[tuple[Any, ...]]) -> Iterator[CoreThread]:
    core = CoreThread(events, tmp_path)
    yield core
    core.close()


def test_faults_and_waits_between_two_samples(core: CoreThread, kernel: Kernel, events: deque[tuple[Any, ...]]) -> None:
    kernel.write(minor=1_000, system=5, switches=3, waited=40 * MS)
    core.sample(100 * MS, THREAD)
    kernel.write(minor=1_800, major=2, system=7, disk=1, switches=8, waited=65 * MS)
    core.sample(150 * MS, THREAD)
    assert list(events) == [
        (100 * MS, 50 * MS, "page faults", 30 * MS, 802),  # three ticks of 10 ms
        (100 * MS, 50 * MS, "waited for a processor", 25 * MS, 5),
    ]


def test_a_quiet_window_leaves_nothing(core: CoreThread, kernel: Kernel, events: deque[tuple[Any, ...]]) -> None:
    core.sample(100 * MS, THREAD)
    kernel.write(minor=9, waited=MS // 10)
    core.sample(150 * MS, THREAD)
    assert not events


def test_system_time_without_a_fault_is_no_page_fault(core: CoreThread, kernel: Kernel, events: deque[Any]) -> None:
    core.sample(100 * MS, THREAD)
    kernel.write(system=9)
    core.sample(150 * MS, THREAD)
    assert not events


def test_nothing_is_read_before_the_engine_has_a_thread(core: CoreThread, events: deque[Any]) -> None:
    core.sample(100 * MS, 0)
    assert not events
    assert not core.notes


def test_a_window_never_spans_two_threads(core: CoreThread, kernel: Kernel, events: deque[Any]) -> None:
    core.sample(100 * MS, THREAD)
    kernel.write(waited=25 * MS)
    core.sample(150 * MS, 0)
    core.sample(200 * MS, THREAD)
    assert not events


def test_a_thread_that_cannot_be_read_is_noted_once(core: CoreThread, kernel: Kernel) -> None:
    (kernel.folder / "schedstat").unlink()
    for sample in range(3):
        core.sample(sample * MS, 0)
        core.sample(sample * MS, THREAD)
    assert core.notes == [
        "engine core's thread: no page faults and no waits for a processor (schedstat: No such file or directory)"
    ]


def test_a_file_without_its_figures_ends_the_reading(core: CoreThread, kernel: Kernel, events: deque[Any]) -> None:
    core.sample(100 * MS, THREAD)
    (kernel.folder / "status").write_text("torn")
    core.sample(150 * MS, THREAD)
    assert not events


def test_the_page_faults_of_a_real_thread(events: deque[tuple[Any, ...]]) -> None:
    core, begin, done = CoreThread(events), threading.Event(), threading.Event()

    def touch() -> None:
        begin.wait()
        until = time.monotonic() + 20
        while not events and time.monotonic() < until:
            with mmap.mmap(-1, 64 << 20) as memory:
                memory.madvise(mmap.MADV_NOHUGEPAGE)
                for page in range(0, len(memory), mmap.PAGESIZE):
                    memory[page] = 1
            core.sample(time.monotonic_ns(), threading.get_native_id())
        done.set()

    thread = threading.Thread(target=touch)
    thread.start()
    core.sample(time.monotonic_ns(), thread.native_id or 0)
    begin.set()
    thread.join()
    core.close()
    faults = [number for *_, kind, _, number in events if kind == "page faults"]
    assert not faults or faults[0] >= 16_384
    assert events
