"""One request of a trace, and what its fields may hold."""

import math
from typing import Any

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.safe_read import shown
from engine_probe.workload.lengths import MOST_TOKENS


class TraceRequest(msgspec.Struct, frozen=True):
    """Holds one request of a trace; of a session's later turns, the tokens after the answer before."""

    where: str
    timestamp_seconds: float  # of a later turn, that of its session
    input_len: int
    output_len: int
    hash_ids: list[int] = []
    pause_seconds: float = 0.0  # from the answer before to this turn
    whole: bool = False  # a later turn, too, is the whole context
    block_tokens: int | None = None  # that each hash id covers, where the file says so
    scope: str = ""  # of the hash ids: the same id is the same tokens within it


class RecordedSession(msgspec.Struct, frozen=True):
    """Holds requests that wait for each other; mostly one."""

    name: str
    turns: list[TraceRequest]

    @property
    def timestamp_seconds(self) -> float:
        return self.turns[0].timestamp_seconds


def number(entry: dict[str, Any], key: str, where: str) -> float:
    value = entry.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{where}: {key} is {shown(value)}, expected a number")
    return value


def whole(entry: dict[str, Any], key: str, where: str, least: int = 0) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{where}: {key} is {shown(value)}, expected a whole number of at least {least}")
    if value > MOST_TOKENS:
        tokens = f"{value:,}" if value < 10**15 else f"{value:.3g}"
        raise InputError(f"{where}: {key} is {tokens} tokens, more than any model takes (at most {MOST_TOKENS:,})")
    return value


def hashes(entry: dict[str, Any], where: str) -> list[int]:
    hash_ids = entry.get("hash_ids", [])
    if not isinstance(hash_ids, list) or not all(isinstance(hash_id, int) for hash_id in hash_ids):
        raise InputError(f"{where}: hash_ids is {shown(hash_ids)}, expected a list of integers")
    return hash_ids
