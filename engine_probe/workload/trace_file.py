"""Recorded traffic from a local file: when requests came, how long they were, and which prefixes they shared."""

from __future__ import annotations

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
TOKEN_BYTES = 8  # in a list


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
    """One request of a trace."""

    where: str
    timestamp_seconds: float
    input_len: int
    output_len: int
    hash_ids: list[int] = []


def trace_drafts(trace: Trace, count: int | None, chances: Chances) -> tuple[list[Draft], list[str]]:
    """The drafts, and what must be said about them."""
    usable, failed = answered(trace)
    if not usable or len(usable) < (count or 0):
        raise InputError(
            f"{trace.path} holds {len(usable)} requests with an answer, fewer than num_prompts = {count or 1}: "
            "ask for fewer, or give a longer trace"
        )
    check_memory(trace.path, sum(one.input_len for one in usable[:count]))
    drafts = [
        Draft([Turn(trace_prompt(one, number, trace.block_tokens, chances), one.output_len)], one.timestamp_seconds)
        for number, one in enumerate(usable[:count])
    ]
    recorded = len(usable) + failed
    return drafts, [f"{failed} of {recorded} recorded requests had no answer and were left out"] * bool(failed)


def check_memory(path: str, tokens: int) -> None:
    """Refuse prompts that this machine could not hold, before they are made."""
    held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if tokens * TOKEN_BYTES > held:
        raise InputError(
            f"{path} asks for prompts of {tokens:,} tokens in all, more than {held / 2**30:.0f} GiB of memory hold: "
            "ask for fewer (num_prompts)"
        )


def answered(trace: Trace) -> tuple[list[Recorded], int]:
    """Those with an answer, in the order of time, and how many had none."""
    path = Path(trace.path)
    everything = read_mooncake(path) if trace.format == "mooncake" else read_burstgpt(path)
    usable = sorted((one for one in everything if one.output_len > 0), key=lambda one: one.timestamp_seconds)
    return usable, len(everything) - len(usable)


def trace_prompt(one: Recorded, number: int, block_tokens: int, chances: Chances) -> list[int]:
    if not one.hash_ids:
        return random_tokens(chances.stream(f"prompt {number}"), one.input_len)
    if len(one.hash_ids) != math.ceil(one.input_len / block_tokens):
        raise InputError(
            f"{one.where}: {len(one.hash_ids)} hash_ids for {one.input_len} tokens are not one for each "
            f"{block_tokens}: set block_tokens to the trace's own"
        )
    ids: list[int] = []
    for hash_id in one.hash_ids:
        ids += random_tokens(chances.stream(f"block {hash_id}"), min(block_tokens, one.input_len))
    return ids[: one.input_len]


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
        raise InputError(f"{path} has no column {missing[0]!r}: is it a CSV file in BurstGPT's form?")
    found = []
    for where, row in rows:
        time, *lengths = (parsed(row[column], column, where) for column in BURSTGPT_COLUMNS)
        tokens = [int(length) if length.is_integer() else length for length in lengths]
        entry = dict(zip(BURSTGPT_COLUMNS[1:], tokens, strict=True))
        asked = whole(entry, BURSTGPT_COLUMNS[1], where, least=1)
        found.append(Recorded(where, time, asked, whole(entry, BURSTGPT_COLUMNS[2], where)))
    return found


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
        told = f"{value:,}" if value < 10**15 else f"{value:.3g}"
        raise InputError(f"{where}: {key} is {told} tokens, more than any model takes (at most {MOST_TOKENS:,})")
    return value


def hashes(entry: dict[str, Any], where: str) -> list[int]:
    found = entry.get("hash_ids", [])
    if not isinstance(found, list) or not all(isinstance(hash_id, int) for hash_id in found):
        raise InputError(f"{where}: hash_ids is {shown(found)}, expected a list of integers")
    return found
