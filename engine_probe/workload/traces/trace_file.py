"""Recorded traffic from a local file: arrival times, lengths, shared prefixes and pauses of requests."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about
from engine_probe.files.shipped import shipped_folder
from engine_probe.workload.lengths import Positive
from engine_probe.workload.prompts import Chances, Draft, Turn, random_tokens
from engine_probe.workload.traces.burstgpt import read_burstgpt
from engine_probe.workload.traces.mooncake import read_mooncake, read_sessions
from engine_probe.workload.traces.recorded import RecordedSession, TraceRequest
from engine_probe.workload.traces.weka import read_weka

TOKEN_BYTES = 8  # of a token id in a Python list
SESSIONS, WEKA = "sessions", "weka"
MOST_RECORDED_TURNS = 10_000  # of a session, before its file is read
READ: dict[str, Callable[[Path], list[RecordedSession]]] = {
    "mooncake": read_mooncake,
    "burstgpt": read_burstgpt,
    SESSIONS: read_sessions,
    WEKA: read_weka,
}


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="trace"):
    """Recorded traffic from a local file: the first `num_prompts` requests by time, with their recorded lengths.

    `mooncake` has lines with `timestamp` (ms), `input_length`, `output_length` and perhaps `hash_ids` (the same id is
    the same tokens); `burstgpt` is a CSV with `Timestamp` (s), `Request tokens` and `Response tokens`. `sessions` are
    the turns of agents, as AIPerf writes them: mooncake's lines with a `session_id`, whose later turns have the new
    tokens alone and a `delay` (ms) after the answer before, as for a tool. `weka` are coding agents of kv-cache-tester,
    as InferenceX replays them: conversations whose requests have the whole context in `hash_ids`, and a `think_time`.
    Of both, `num_prompts` counts sessions. Requests without an answer are left out, and end their session.
    """

    path: Annotated[str, about("Path of the local file, or the shipped agents (sessions).", "mooncake_trace.jsonl")]
    format: Annotated[Literal["mooncake", "burstgpt", "sessions", "weka"], about("Format of the file.", "mooncake")]
    block_tokens: Annotated[Positive, about("Number of tokens that each of the trace's hash_ids covers.", 16)] = 512

    @property
    def file(self) -> Path:
        """Return the file: the path itself, or that of a shipped trace of this name."""
        if Path(self.path).name != self.path:
            return Path(self.path)
        shipped = shipped_folder() / "traces" / f"{self.path}.jsonl"
        return shipped if shipped.is_file() else Path(self.path)


def trace_drafts(trace: Trace, count: int | None, chances: Chances) -> tuple[list[Draft], list[str]]:
    """Make a draft of each session that has an answer; return them, and notes about them."""
    usable, failed = answered(trace)
    if not usable or len(usable) < (count or 0):
        what = "sessions" if trace.format in (SESSIONS, WEKA) else "requests"
        raise InputError(
            f"{trace.path} holds {len(usable)} {what} with an answer, fewer than num_prompts = {count or 1}: "
            "ask for fewer, or give a longer trace"
        )
    chosen = usable[:count]
    check_memory(trace.path, sum(turn.input_len for session in chosen for turn in session.turns))
    drafts = [
        Draft(list(trace_turns(session, number, trace, chances)), session.timestamp_seconds)
        for number, session in enumerate(chosen)
    ]
    recorded = sum(len(session.turns) for session in usable) + failed
    return drafts, [f"{failed} of {recorded} recorded requests had no answer and were left out"] * bool(failed)


def check_memory(path: str, tokens: int) -> None:
    """Refuse prompts that this machine's memory could not hold, before they are made."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if tokens * TOKEN_BYTES > memory:
        raise InputError(
            f"{path} asks for prompts of {tokens:,} tokens in all, more than {memory / 2**30:.0f} GiB of memory hold: "
            "ask for fewer (num_prompts)"
        )


def answered(trace: Trace) -> tuple[list[RecordedSession], int]:
    """Return the sessions up to their first request without an answer, by time, and how many requests are left out."""
    sessions = READ[trace.format](trace.file)
    whole = [msgspec.structs.replace(session, turns=before_failure(session.turns)) for session in sessions]
    usable = sorted((session for session in whole if session.turns), key=lambda session: session.timestamp_seconds)
    kept = sum(len(session.turns) for session in usable)
    return usable, sum(len(session.turns) for session in sessions) - kept


def before_failure(turns: Sequence[TraceRequest]) -> list[TraceRequest]:
    count = next((number for number, turn in enumerate(turns) if not turn.output_len), len(turns))
    return list(turns[:count])


def trace_turns(session: RecordedSession, number: int, trace: Trace, chances: Chances) -> Iterator[Turn]:
    """Draw the tokens of a session. New tokens of later turns are its own: they follow an answer that no other has."""
    for place, turn in enumerate(session.turns):
        whole = turn.whole and place > 0
        if whole or place == 0:
            tokens = trace_prompt(turn, number, trace.block_tokens, chances)
        else:
            tokens = random_tokens(chances.stream(f"prompt {number}.{place}"), turn.input_len)
        yield Turn(tokens, turn.output_len, pause_seconds=turn.pause_seconds, whole=whole)


def trace_prompt(request: TraceRequest, number: int, block_tokens: int, chances: Chances) -> list[int]:
    """Draw the tokens of a prompt; equal hash_ids give equal blocks."""
    block_tokens = request.block_tokens or block_tokens
    if not request.hash_ids:
        return random_tokens(chances.stream(f"prompt {number}"), request.input_len)
    if len(request.hash_ids) != math.ceil(request.input_len / block_tokens):
        raise InputError(
            f"{request.where}: {len(request.hash_ids)} hash_ids for {request.input_len} tokens are not one for each "
            f"{block_tokens}: set block_tokens to the trace's own"
        )
    token_ids: list[int] = []
    for hash_id in request.hash_ids:
        token_ids += random_tokens(
            chances.stream(f"block {request.scope}{hash_id}"), min(block_tokens, request.input_len)
        )
    return token_ids[: request.input_len]
