"""Traces of coding agents as kv-cache-tester has them and InferenceX replays them: a conversation in each object.

Its `requests` have `in`, `out` and the `hash_ids` of the whole context, in blocks of the conversation's `block_size`;
unless `hash_id_scope` is "global", an id means the same tokens in its conversation only. A pause is the `think_time` of
the request after it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_json, read_json_lines, shown
from engine_probe.workload.traces.recorded import RecordedSession, TraceRequest, hashes, number, whole

REQUEST_TYPES = ("s", "n")  # streamed or not, which makes no difference here
GLOBAL = "global"


def read_weka(path: Path) -> list[RecordedSession]:
    """Read conversations; all begin at once, because the format has no common clock."""
    found = []
    for where, entry in conversations(path):
        name, requests = str(entry.get("id")), entry.get("requests")
        if not isinstance(requests, list) or not requests:
            raise InputError(f"{where}: requests is {shown(requests)}, expected a list of the conversation's requests")
        found.append(RecordedSession(name, list(turns(entry, requests, where, name))))
    return found


def conversations(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of JSON Lines, or the only one of a .json file."""
    if path.suffix != ".json":
        yield from read_json_lines(path)
        return
    entry = read_json(path)
    if not isinstance(entry, dict):
        raise InputError(f"{path} holds no JSON object: give a conversation with its requests")
    yield str(path), entry


def turns(conversation: dict[str, Any], requests: list[Any], where: str, name: str) -> Iterator[TraceRequest]:
    block_tokens = whole(conversation, "block_size", where, least=1)
    scope = "" if conversation.get("hash_id_scope") == GLOBAL else f"{name} "
    for place, request in enumerate(requests):
        at = f"{where}: requests[{place}]"
        if not isinstance(request, dict) or request.get("type") not in REQUEST_TYPES:
            kind = request.get("type") if isinstance(request, dict) else request
            raise InputError(
                f"{at}: type is {shown(kind)}, expected s or n: subagents cannot be replayed, use a corpus without them"
            )
        yield TraceRequest(
            at,
            0.0,
            whole(request, "in", at, least=1),
            whole(request, "out", at),
            hashes(request, at),
            pause_seconds(request, requests[place - 1], at) if place else 0.0,
            whole=True,
            block_tokens=block_tokens,
            scope=scope,
        )


def pause_seconds(request: dict[str, Any], before: dict[str, Any], where: str) -> float:
    """Return the client's pause before a request: as recorded, or what is left of the time since the one before."""
    if "think_time" in request:
        pause = number(request, "think_time", where)
    elif "api_time" in before:
        pause = number(request, "t", where) - number(before, "t", where) - number(before, "api_time", where)
    else:
        raise InputError(
            f"{where} has no think_time, and the request before it no api_time: how long the client paused is not known"
        )
    if pause < 0:
        raise InputError(f"{where}: the pause before it is {pause:g} s, expected at least 0")
    return pause
