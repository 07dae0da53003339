"""Mooncake's traces, and the sessions of agents that AIPerf writes in the same format.

A line of a session names it (`session_id`); its first line has a `timestamp`, the later ones the `delay` after the
answer before. Their `input_length` counts the new tokens alone.
"""

from pathlib import Path
from typing import Any

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_json_lines, shown
from engine_probe.workload.traces.recorded import RecordedSession, TraceRequest, hashes, number, whole

SESSION, DELAY, TIMESTAMP = "session_id", "delay", "timestamp"


def read_mooncake(path: Path) -> list[RecordedSession]:
    """Read requests that do not wait for each other."""
    found = []
    for where, entry in read_json_lines(path):
        if SESSION in entry:
            raise InputError(
                f'{where}: {SESSION} is {shown(entry[SESSION])}: for sessions of several turns use format = "sessions"'
            )
        found.append(RecordedSession(where, [recorded(entry, where, number(entry, TIMESTAMP, where) / 1000)]))
    return found


def read_sessions(path: Path) -> list[RecordedSession]:
    """Read sessions, in the order of their first lines; a session's lines need not follow each other."""
    sessions: dict[str, RecordedSession] = {}
    for where, entry in read_json_lines(path):
        name = entry.get(SESSION)
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise InputError(f"{where}: {SESSION} is {shown(name)}, expected the name of the request's session")
        if (session := sessions.get(str(name))) is None:
            first = recorded(entry, where, number(entry, TIMESTAMP, where) / 1000)
            sessions[str(name)] = RecordedSession(str(name), [first])
        else:
            session.turns.append(
                recorded(entry, where, session.timestamp_seconds, pause_seconds(entry, where, str(name)))
            )
    return list(sessions.values())


def pause_seconds(entry: dict[str, Any], where: str, name: str) -> float:
    """Return the pause before a later turn; none if the line gives no time at all."""
    if DELAY not in entry and entry.get(TIMESTAMP) is not None:
        raise InputError(
            f"{where}: a later turn of session {name} has a {TIMESTAMP} and no {DELAY}: give the milliseconds from the "
            f"answer before it as {DELAY}, since answers will take other times than those recorded"
        )
    delay = number({DELAY: 0, **entry}, DELAY, where)
    if delay < 0:
        raise InputError(f"{where}: {DELAY} is {delay:g} ms, expected at least 0")
    return delay / 1000


def recorded(entry: dict[str, Any], where: str, timestamp_seconds: float, pause: float = 0.0) -> TraceRequest:
    return TraceRequest(
        where,
        timestamp_seconds,
        whole(entry, "input_length", where, least=1),
        whole(entry, "output_length", where),
        hashes(entry, where),
        pause,
    )
