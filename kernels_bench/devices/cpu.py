"""The CPU as a device. Loads no torch, so that programs without it can read a CPU's ceilings."""

import hashlib
import os
import platform
import re
from pathlib import Path

from kernels_bench.results import Device

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def cpu() -> Device:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = _cpu_name()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    digest = hashlib.sha256(f"{platform.node()} {name} {cores}".encode()).hexdigest()[:16]
    return Device("cpu", name, f"cpu-{digest}", memory, _last_cache_bytes(), cores)


def host_free_bytes() -> int:
    text = _text_of(MEMINFO)
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    if match:
        return int(match[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cpu_name() -> str:
    text = _text_of(CPUINFO)
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _text_of(path: Path) -> str:
    """Read one of the kernel's files; return an empty text if a container hides it."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _last_cache_bytes() -> int:
    """Return the size of the largest cache of core 0; 32 MiB if the kernel does not report it."""
    sizes = [
        int(text[:-1]) * SIZES[text[-1]]
        for path in CACHES.glob("index*/size")
        if (text := path.read_text().strip()) and text[-1] in SIZES
    ]
    return max(sizes, default=32 << 20)
