"""What an engine was running when a signal ended it, and the likely cause.

Python's faulthandler is on in engine processes. It writes the stacks of all threads to the engine's log.
"""

import os
import re
import signal
from pathlib import Path

from engine_probe.engine.cpu.amx import has_amx

FATAL = "Fatal Python error: "
FRAME = re.compile(r'^ +File "(?P<file>.+)", line \d+ in (?P<function>.+)$', re.MULTILINE)
CURRENT = "Current thread 0x"
THREAD = re.compile(r"^(?:Current thread|Thread) 0x", re.MULTILINE)
PACKAGES = "site-packages/"
SIGNALS = {"Illegal instruction": signal.SIGILL, "Bus error": signal.SIGBUS, "Segmentation fault": signal.SIGSEGV}
SHARED_MEMORY = Path("/dev/shm")


def running(log_text: str) -> str:
    """Return the place in the code at the last crash, as `vllm/.../cpu_attn.py forward`. Empty if the log has none.

    The innermost function of vLLM counts, because those within are torch's. A thread of OpenMP has no Python stack;
    when one crashes, the thread that runs vLLM's code is the one that waits for it.
    """
    _, crashed, stacks = log_text.rpartition(FATAL)
    threads = [FRAME.findall(thread) for thread in THREAD.split(stacks)[1:]] if crashed else []
    if not any(threads):
        return ""
    if threads[0] and CURRENT in stacks:
        frames = threads[0]
    else:
        stacks_of_python = [thread for thread in threads if thread]
        frames = next((thread for thread in stacks_of_python if of_vllm(thread)), stacks_of_python[-1])
    file, function = of_vllm(frames) or frames[0]
    return f"{file.rpartition(PACKAGES)[2]} {function}"


def of_vllm(frames: list[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the innermost frame in vLLM's code. None if there is none."""
    return next((frame for frame in frames if f"{PACKAGES}vllm/" in frame[0]), None)


def worker_crash(log: Path) -> str:
    """Return how a process that vLLM had started for the engine crashed, to be added to a sentence. Empty if none did.

    The engine itself then only says that a worker is gone.
    """
    text = log.read_text(encoding="utf-8", errors="replace")
    _, crashed, stacks = text.rpartition(FATAL)
    if not crashed:
        return ""
    what, place = stacks.partition("\n")[0].strip(), running(text)
    cause = likely_cause(SIGNALS[what]) if what in SIGNALS else ""
    words = [f'a worker crashed ("{what}")' + (f" while running {place}" if place else ""), cause]
    return f"; {', '.join(filter(None, words))}"


def likely_cause(number: int) -> str:
    """Return what such a signal most often means here, and what to do. Empty where nothing general can be said."""
    match number:
        case signal.SIGILL if has_amx():
            return (
                "likely AMX used without the kernel's permission, or a vLLM built for another processor: "
                "`engine_probe doctor` says which"
            )
        case signal.SIGILL:
            return "likely a vLLM or torch built for another processor: `engine_probe doctor --deep` tries them"
        case signal.SIGBUS:
            return f"likely {SHARED_MEMORY} or the disk is full{_shared_memory()}: free some space there"
        case signal.SIGSEGV:
            return "likely a fault in compiled code of vLLM or torch: try --enforce-eager, or another version"
    return ""


def _shared_memory() -> str:
    try:
        free = os.statvfs(SHARED_MEMORY)
    except OSError:
        return ""
    return f" ({SHARED_MEMORY} has {free.f_bavail * free.f_frsize >> 20:,} MiB free now)"
