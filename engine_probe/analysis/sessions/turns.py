"""The turns of a run's sessions: their latencies, their pauses, and the prompt tokens that the prefix cache held.

The ideal is a prefix cache without limits. It holds of a first prompt what an earlier session's prompt shares with it
(`ideal_hits` in run.json, from the plan's tokens; of later turns, too, where the plan has their whole prompts). Of
another later turn it holds the history, but the last token of the answer, whose KV no step has computed: (prompt +
output - 1) tokens of the turn before, in whole blocks. What is missing of the history at a later turn was evicted since
the answer before it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.record.schema import AnswerOutcome
from engine_probe.workload.load import FURTHER

COLUMNS = [
    *("request_id", "arrival_ns", "first_token_ns", "finished_ns"),
    *("prompt_tokens", "output_tokens", "cached_tokens"),
]


@dataclass(frozen=True)
class TurnTimes:
    """One request of a session. Times are null where they are not known."""

    number: int
    arrival_ns: int | None
    first_token_ns: int | None
    finished_ns: int
    prompt_tokens: int
    cached_tokens: int  # found when it was admitted
    ideal_tokens: int | None  # that a cache without limits would have held; None if that is not known
    pause_ns: int | None  # since the answer before; None in a first turn
    output_tokens: int

    @property
    def lost_tokens(self) -> int:
        """Return how much of the history was evicted before this turn."""
        return 0 if self.ideal_tokens is None else max(0, self.ideal_tokens - self.cached_tokens)

    @property
    def ttft_ns(self) -> int | None:
        if self.arrival_ns is None or self.first_token_ns is None:
            return None
        return self.first_token_ns - self.arrival_ns


@dataclass(frozen=True)
class Session:
    turns: tuple[TurnTimes, ...]
    whole: bool  # all turns were answered

    @property
    def seconds(self) -> float | None:
        """Return the time from the first request to the last answer, pauses included."""
        begun = self.turns[0].arrival_ns
        return None if begun is None else (self.turns[-1].finished_ns - begun) / 1e9

    @property
    def paused_seconds(self) -> float:
        return sum(turn.pause_ns or 0 for turn in self.turns) / 1e9


@dataclass(frozen=True)
class Hits:
    """Prompt tokens of some turns, those found in the prefix cache, and those that an ideal one would have held."""

    prompt_tokens: int
    cached_tokens: int
    ideal_tokens: int

    @property
    def share(self) -> float:
        return self.cached_tokens / self.prompt_tokens

    @property
    def ideal_share(self) -> float:
        return self.ideal_tokens / self.prompt_tokens

    @property
    def of_ideal(self) -> float | None:
        return self.cached_tokens / self.ideal_tokens if self.ideal_tokens else None


@dataclass(frozen=True)
class Sessions:
    """The sessions of a run, of which at least one has several turns."""

    sessions: tuple[Session, ...]
    not_known: int  # sessions with a request that has no row

    @cached_property
    def turns(self) -> list[TurnTimes]:
        return [turn for session in self.sessions for turn in session.turns]

    @cached_property
    def by_number(self) -> dict[int, list[TurnTimes]]:
        return dict(sorted(grouped(self.turns, lambda turn: turn.number).items()))

    @cached_property
    def hits(self) -> Hits | None:
        """Return the hits of all turns. None without a prefix cache."""
        return hits_of(self.turns)

    @cached_property
    def later(self) -> list[TurnTimes]:
        return [turn for turn in self.turns if turn.number]

    @property
    def evicted(self) -> list[TurnTimes]:
        """Return the later turns, part of whose history was evicted before they were admitted."""
        return [turn for turn in self.later if turn.lost_tokens]


def together(repeats: Sequence[Sessions]) -> Sessions:
    """Return the sessions of several runs as those of one."""
    return Sessions(
        tuple(session for each in repeats for session in each.sessions), sum(each.not_known for each in repeats)
    )


def hits_of(turns: Sequence[TurnTimes]) -> Hits | None:
    ideal = [turn.ideal_tokens for turn in turns]
    if not turns or None in ideal:
        return None
    return Hits(
        sum(turn.prompt_tokens for turn in turns),
        sum(turn.cached_tokens for turn in turns),
        sum(each or 0 for each in ideal),
    )


def may_have_turns(facts: Mapping[str, Any]) -> bool:
    """Return whether the workload may have sessions of several turns, by its description alone."""
    prompts = (facts.get("workload") or {}).get("prompts") or {}
    return prompts.get("kind") in ("conversations", "trace", "dataset", "questions")


def sessions(facts: Mapping[str, Any], requests: pa.Table, answers: pa.Table) -> Sessions | None:
    """Return the sessions of a run. None if no session of its workload has several turns."""
    ids: dict[str, list[tuple[int, str, bool]]] = defaultdict(list)
    names = ("request_id", "prompt_id", "outcome")
    for engine_id, prompt_id, outcome in zip(*(answers[name].to_pylist() for name in names), strict=True):
        session, dot, turn = prompt_id.rpartition(".")
        if dot and turn.isdigit() and not prompt_id.startswith(FURTHER):
            ids[session].append((int(turn), engine_id, outcome == AnswerOutcome.ANSWERED))
    if not ids:
        return None
    rows = {row["request_id"]: row for row in requests.select(COLUMNS).to_pylist()}
    block = facts["kv"]["block_size_tokens"] if facts["kv"]["prefix_caching"] else None
    hits = facts.get("ideal_hits") or {}
    known = []
    for name, each in ids.items():
        each.sort()
        if all(engine_id in rows for _, engine_id, _ in each) and [turn for turn, *_ in each] == list(range(len(each))):
            turns = [rows[engine_id] for _, engine_id, _ in each]
            planned = [hits.get(f"{name}.{turn}") for turn in range(len(each))]
            known.append(Session(tuple(turns_of(turns, block, planned)), all(whole for *_, whole in each)))
    return Sessions(tuple(known), len(ids) - len(known)) if known else None


def turns_of(
    rows: Sequence[Mapping[str, Any]], block: int | None, planned: Sequence[int | None]
) -> Iterator[TurnTimes]:
    """Yield the turns of a session from the rows of its requests, and from the ideal hits that the plan knew."""
    for number, (before, row, ideal) in enumerate(zip([None, *rows[:-1]], rows, planned, strict=True)):
        if block and ideal is None and before and before["output_tokens"]:
            ideal = (before["prompt_tokens"] + before["output_tokens"] - 1) // block * block
        arrived = row["arrival_ns"]
        yield TurnTimes(
            number=number,
            arrival_ns=arrived,
            first_token_ns=row["first_token_ns"],
            finished_ns=row["finished_ns"],
            prompt_tokens=row["prompt_tokens"],
            cached_tokens=row["cached_tokens"] or 0,
            ideal_tokens=ideal if block else None,
            pause_ns=None if before is None or arrived is None else arrived - before["finished_ns"],
            output_tokens=row["output_tokens"],
        )
