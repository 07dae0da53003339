"""How hard a workload pushes an engine, in one number and its unit: what the axis of a curve says."""

from __future__ import annotations

from typing import Any

MOST_LOAD = 1e9  # requests: beyond that a line cannot be fitted, and no engine is
AT_ONCE, USERS, RATE, IN_ALL = "requests at once", "users", "requests/s", "requests in all"


def load_of(work: dict[str, Any]) -> tuple[float, str]:
    """Of a workload as a sweep writes it; zero where a trace alone knows."""
    arrivals = work.get("arrivals") or {}
    for key, unit in (("request_rate", RATE), ("users", USERS)):
        if key in arrivals:
            return positive(arrivals[key], key), unit
    if arrivals.get("kind", "burst") != "burst":
        return float(work.get("num_prompts") or 0), IN_ALL
    told = (value for name in ("concurrency", "num_prompts") if (value := work.get(name)) is not None)
    return positive(next(told, 1), "concurrency"), AT_ONCE


def positive(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_LOAD:
        raise ValueError(f"{name} is {value!r}")
    return float(value)


def load_words(load: float, unit: str) -> str:
    """In few: `4 at once`, `20 requests/s`."""
    return f"{load:g} {unit.removeprefix('requests ')}" if load else "as the trace says"
