"""Tells why an engine's process ended: from its exit code, its log, and what it was running when a signal ended it.

Python's faulthandler is on in engine processes. It writes the stacks of all threads to the engine's log.
"""

import os
import re
import signal
from pathlib import Path

from engine_probe.engine.cpu.amx import has_amx
from engine_probe.engine.failures import LESS_IN_A_STEP, WORDS, is_out_of_memory
from engine_probe.errors import EngineProbeError, UnavailableError

LOG_PREFIX = re.compile(r"^(\(.*?\) )?(ERROR|FATAL|CRITICAL) [\d-]+ [\d:]+ \[[^]]*\] ")
WARNING = re.compile(r"^(\(.*?\) )?WARNING ")  # may quote an exception that vLLM has dealt with
ERROR = re.compile(r"\b(\w*Error|\w*Exception|ERROR|FATAL)\b")
ENFORCED = re.compile(r"^\[enforce fail at \S+\] .*?\. ")  # where in torch's source
MOST_QUOTED = 300  # characters of an error


def engine_ended(code: int, log: Path, kills: int | None) -> EngineProbeError:
    """Return why the process ended.

    `kills` counts the processes of this machine that the kernel killed since the engine started because memory ran out.
    """
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    text = log.read_text(encoding="utf-8", errors="replace")
    if place := running(text):
        how += f" while running {place}"
    error = last_error(text)
    quoted = f'"{error}"' if error else "its log names no error"
    if -code == signal.SIGKILL and kills:
        counted = "a process" if kills == 1 else f"{kills} processes"
        why = f" (meanwhile the kernel killed {counted} because memory ran out): {quoted}: {LESS_IN_A_STEP}"
    elif -code == signal.SIGKILL and kills is None:
        why = f" (out of memory?): {quoted}"
    elif -code == signal.SIGKILL:
        why = f" (killed by another process, not by the kernel's OOM killer): {quoted}"
    elif WORDS.search(error):
        why = f", out of memory: {quoted}: {LESS_IN_A_STEP}"
    elif cause := likely_cause(-code):
        why = f" ({quoted}), {cause}" if error else f", {cause}"
    else:
        why = f": {quoted}"
    return UnavailableError(f"the engine's process ended {how}{why}; see {log}")


def failure_in_point(error: BaseException) -> str:
    """Return the sentence for an exception that ended a point, from within the engine's process."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    message = f"{type(error).__name__}: {ENFORCED.sub('', first)}"[:MOST_QUOTED].rstrip(".: ")
    if is_out_of_memory(error):
        return f"out of memory in the middle of the point ({message}): {LESS_IN_A_STEP}"
    return f"vLLM failed in the middle of the point ({message})"


def last_error(text: str) -> str:
    """Return the last line of a log that names an error, without vLLM's time stamp. Empty where none does.

    What follows a crash is stacks, in which names of functions look like errors.
    """
    lines = [line.strip() for line in text.partition(FATAL)[0].splitlines() if line.strip()]
    errors = [line for line in lines if (ERROR.search(line) or WORDS.search(line)) and not WARNING.match(line)]
    return LOG_PREFIX.sub("", errors[-1])[:MOST_QUOTED] if errors else ""


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
