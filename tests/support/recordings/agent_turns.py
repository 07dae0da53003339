"""Two sessions in a run's tables: one of three turns, part of whose history is evicted, and one of a single turn."""

from __future__ import annotations

from typing import Any

from engine_probe.analysis.sessions.turns import sessions
from tests.support.recordings.small_tables import table

MS = 1_000_000
FACTS = {"kv": {"block_size_tokens": 16, "prefix_caching": True}, "ideal_hits": {"0.0": 0, "1.0": 32}}


def request(
    name: str, arrival: int, first: int, finished: int, prompt: int, answer: int, cached: int
) -> dict[str, Any]:
    return {
        "request_id": name,
        "arrival_ns": arrival * MS,
        "first_token_ns": first * MS,
        "finished_ns": finished * MS,
        "prompt_tokens": prompt,
        "output_tokens": answer,
        "cached_tokens": cached,
    }


REQUESTS = [
    request("e0", 0, 50, 100, 40, 9, 0),
    request("e1", 20, 30, 60, 40, 5, 32),
    request("e2", 300, 310, 400, 60, 4, 48),  # of 40 + 9 - 1 = 48 computed tokens all
    request("e3", 500, 580, 700, 80, 2, 16),  # of 60 + 4 - 1 = 63 in 3 whole blocks, but one
]
ANSWERS = [("e0", "0.0"), ("e1", "1.0"), ("e2", "0.1"), ("e3", "0.2")]


def tables(answers: Any = ANSWERS, outcome: str = "answered") -> tuple[Any, Any]:
    """Return the tables `requests` and `answers`."""
    rows = [{"request_id": one, "prompt_id": plan, "outcome": outcome, "prompt_crc32": 0} for one, plan in answers]
    return table("requests", REQUESTS), table("answers", rows)


def found(facts: Any = FACTS, answers: Any = ANSWERS, outcome: str = "answered") -> Any:
    return sessions(facts, *tables(answers, outcome))
