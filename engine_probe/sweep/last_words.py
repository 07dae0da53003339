"""Why an engine's process ended, as far as its exit and its log tell."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from engine_probe.errors import EngineProbeError, UnavailableError

LOG_PREFIX = re.compile(r"^(\(.*?\) )?(ERROR|FATAL|CRITICAL) [\d-]+ [\d:]+ \[[^]]*\] ")
MOST_QUOTED = 300  # characters of an error


def engine_ended(code: int, log: Path) -> EngineProbeError:
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return UnavailableError(f"the engine's process ended {how}{hint}: {last_error(log)}; see {log}")


def last_error(log: Path) -> str:
    """The last line of the log that names an error, without vLLM's time stamp."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(\w*Error|\w*Exception|ERROR|FATAL)\b", line)]
    if not errors:
        return "its log names no error"
    return f'"{LOG_PREFIX.sub("", errors[-1])[:MOST_QUOTED]}"'
