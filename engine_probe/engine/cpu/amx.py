"""Permission to use AMX tiles, which Linux gives a process only on request.

vLLM's CPU attention uses AMX without requesting it. An engine in which nothing else has requested it before, such as
an eager one, dies with SIGILL. Processes of ours that build an engine therefore request it first. A process that the
user owns is left as it is.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REQUEST_VARIABLE = "ENGINE_PROBE_REQUEST_AMX"  # set while we build an engine, for the processes that vLLM starts
CPUINFO = Path("/proc/cpuinfo")

ARCH_PRCTL = 158  # the system call on x86-64; its operation is from asm/prctl.h
ARCH_REQ_XCOMP_PERM = 0x1023
TILE_DATA = 18  # the processor state that holds AMX tiles


@contextmanager
def amx_requested() -> Iterator[None]:
    """Request AMX for this process, and have each process that vLLM starts within the block request it too.

    A forked process inherits the permission. A spawned one loses it, and requests it when it loads our plugin.
    """
    request_amx()
    before = os.environ.get(REQUEST_VARIABLE)
    os.environ[REQUEST_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[REQUEST_VARIABLE]
        else:
            os.environ[REQUEST_VARIABLE] = before


def request_amx() -> str | None:
    """Request AMX for all threads of this process. Return the kernel's reason if it refuses, None otherwise."""
    if not has_amx():
        return None
    return _arch_prctl(ARCH_REQ_XCOMP_PERM, ctypes.c_long(TILE_DATA))


def has_amx() -> bool:
    """Return whether this is a Linux machine whose processor has AMX tiles."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and "amx_tile" in cpu_flags()


def cpu_flags() -> list[str]:
    """Return the instruction sets of an x86 core; none on others."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return []
    return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])


def _arch_prctl(operation: int, argument: object) -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(ARCH_PRCTL), ctypes.c_long(operation), argument) == 0:
        return None
    return os.strerror(ctypes.get_errno())
