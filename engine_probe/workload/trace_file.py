"""Recorded traffic from a local file: arrival times, lengths and shared prefixes of requests."""

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about
from engine_probe.files.safe_read import MOST_DATA_BYTES, read_csv, read_json_lines, shown
from engine_probe.workload.lengths import MOST_TOKENS, Positive
from engine_probe.workload.prompts import Chances, Draft, Turn, random_tokens

BURSTGPT_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")
TOKEN_BYTES = 8  # of a token id in a Python list


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="trace"):
    """Recorded traffic from a local file: the first `num_prompts` requests by time, with their recorded lengths.

    `mooncake` has lines with `timestamp` (ms), `input_length`, `output_length` and perhaps `hash_ids` (the same id is
    the same tokens); `burstgpt` is a CSV with `Timestamp` (s), `Request tokens` and `Response tokens`. Requests without
    an answer are left out.
    """

    path: Annotated[str, about("Path of the local file.", "mooncake_trace.jsonl")]
    format: Annotated[Literal["mooncake", "burstgpt"], about("Format of the file.", "mooncake")]
    block_tokens: Annotated[Positive, about("Number of tokens that each of the trace's hash_ids covers.", 16)] = 512


class Recorded(msgspec.Struct, frozen=True):
    """Holds one request of a trace."""

    where: str
    timestamp_seconds: float
    input_len: int
    output_len: int
    hash_ids: list[int] = []


def trace_drafts(trace: Trace, count: int | None, chances: Chances) -> tuple[list[Draft], list[str]]:
    """Make a draft of each request that has an answer; return them, and notes about them."""
    usable, failed = answered(trace)
    if not usable or len(usable) < (count or 0):
        raise InputError(
            f"{trace.path} holds {len(usable)} requests with an answer, fewer than num_prompts = {count or 1}: "
            "ask for fewer, or give a longer trace"
        )
    check_memory(trace.path, sum(request.input_len for request in usable[:count]))
    drafts = [
        Draft(
            [Turn(trace_prompt(request, number, trace.block_tokens, chances), request.output_len)],
            request.timestamp_seconds,
        )
        for number, request in enumerate(usable[:count])
    ]
    recorded = len(usable) + failed
    return drafts, [f"{failed} of {recorded} recorded requests had no answer and were left out"] * bool(failed)


def check_memory(path: str, tokens: int) -> None:
    """Refuse prompts that this machine's memory could not hold, before they are made."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if tokens * TOKEN_BYTES > memory:
        raise InputError(
            f"{path} asks for prompts of {tokens:,} tokens in all, more than {memory / 2**30:.0f} GiB of memory hold: "
            "ask for fewer (num_prompts)"
        )


def answered(trace: Trace) -> tuple[list[Recorded], int]:
    """Return the requests that have an answer, sorted by time, and the number of those that have none."""
    path = Path(trace.path)
    requests = read_mooncake(path) if trace.format == "mooncake" else read_burstgpt(path)
    usable = sorted((request for request in requests if request.output_len > 0), key=lambda r: r.timestamp_seconds)
    return usable, len(requests) - len(usable)


def trace_prompt(request: Recorded, number: int, block_tokens: int, chances: Chances) -> list[int]:
    """Draw the tokens of a prompt; equal hash_ids give equal blocks."""
    if not request.hash_ids:
        return random_tokens(chances.stream(f"prompt {number}"), request.input_len)
    if len(request.hash_ids) != math.ceil(request.input_len / block_tokens):
        raise InputError(
            f"{request.where}: {len(request.hash_ids)} hash_ids for {request.input_len} tokens are not one for each "
            f"{block_tokens}: set block_tokens to the trace's own"
        )
    token_ids: list[int] = []
    for hash_id in request.hash_ids:
        token_ids += random_tokens(chances.stream(f"block {hash_id}"), min(block_tokens, request.input_len))
    return token_ids[: request.input_len]


def read_mooncake(path: Path) -> list[Recorded]:
    return [
        Recorded(
            where,
            number(entry, "timestamp", where) / 1000,
            whole(entry, "input_length", where, least=1),
            whole(entry, "output_length", where),
            hashes(entry, where),
        )
        for where, entry in read_json_lines(path)
    ]


def read_burstgpt(path: Path) -> list[Recorded]:
    columns, rows = read_csv(path, MOST_DATA_BYTES)
    missing = [column for column in BURSTGPT_COLUMNS if column not in columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}: is it a CSV file in BurstGPT's format?")
    requests = []
    time, input_len, output_len = BURSTGPT_COLUMNS
    for where, row in rows:
        values = {column: parsed(row[column], column, where) for column in BURSTGPT_COLUMNS}
        lengths = {name: int(n) if (n := values[name]).is_integer() else n for name in (input_len, output_len)}
        requests.append(
            Recorded(where, values[time], whole(lengths, input_len, where, least=1), whole(lengths, output_len, where))
        )
    return requests


def parsed(words: str, column: str, where: str) -> float:
    try:
        value = float(words)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {column} is {shown(words)}, expected a number")
    return value


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
