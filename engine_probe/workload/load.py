"""The load of a workload as one number and its unit, for the axis of a curve."""

from collections.abc import Sequence
from typing import Any

FURTHER = "further-"  # begins the id of a request that only holds the load to the end
MOST_LOAD = 1e9  # requests; no engine takes more, and line fits lose precision
CONCURRENCY, USERS, RATE, IN_ALL = "concurrent requests", "users", "requests/s", "requests in all"


def load_of(work: dict[str, Any]) -> tuple[float, str]:
    """Return load and unit of a workload as `sweep.json` holds it; load 0 if only the trace's file tells it."""
    arrivals = work.get("arrivals") or {}
    for key, unit in (("request_rate", RATE), ("users", USERS)):
        if key in arrivals:
            return positive(arrivals[key], key), unit
    if isinstance(levels := arrivals.get("levels"), list) and levels:
        return max(positive(level, "levels") for level in levels), USERS
    if arrivals.get("kind", "burst") != "burst":
        return float(work.get("num_prompts") or 0), IN_ALL
    given = (value for name in ("concurrency", "num_prompts") if (value := work.get(name)) is not None)
    return positive(next(given, 1), "concurrency"), CONCURRENCY


def positive(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_LOAD:
        raise ValueError(f"{name} is {value!r}")
    return float(value)


def level_words(load: float, unit: str) -> str:
    """Return a load with its unit, which is in the singular for one: `1 concurrent request`, `8 users`."""
    if not load:
        return "the load of the trace"
    if load == 1:
        unit = unit.replace("requests", "request") if "requests" in unit else unit.removesuffix("s")
    return f"{load:g} {unit}"


def levels_words(loads: Sequence[float], unit: str) -> str:
    return ", ".join([*(f"{load:g}" for load in loads[:-1]), level_words(loads[-1], unit)])


def load_words(load: float, unit: str) -> str:
    """Name a load as a label does: `concurrency 4`, `50 users`, `20 requests/s`."""
    if not load:
        return "as the trace says"
    return f"concurrency {load:g}" if unit == CONCURRENCY else f"{load:g} {unit.removesuffix(' in all')}"
