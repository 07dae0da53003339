"""Tells why an engine's process ended, from its exit code and its log."""

import re
import signal
from pathlib import Path

from engine_probe.engine.out_of_memory import LESS_IN_A_STEP, WORDS, is_out_of_memory
from engine_probe.errors import EngineProbeError, UnavailableError
from engine_probe.sweep.engine_process.crash_cause import FATAL, likely_cause, running

LOG_PREFIX = re.compile(r"^(\(.*?\) )?(ERROR|FATAL|CRITICAL) [\d-]+ [\d:]+ \[[^]]*\] ")
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
    errors = [line for line in lines if ERROR.search(line) or WORDS.search(line)]
    return LOG_PREFIX.sub("", errors[-1])[:MOST_QUOTED] if errors else ""
