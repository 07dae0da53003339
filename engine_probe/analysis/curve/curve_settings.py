"""The settings of a sweep's curves: the settings, except the load, in which its points differ.

A sweep writes them with each point (`curve` in sweep.json). For older results they are derived from all points when the
sweep is opened.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine_probe.workload.load import CONCURRENCY, RATE, USERS

Settings = Mapping[str, Any]

NEVER = {"repeat", "label", "seed", "curve"}
TWIN = "twin"  # of the engine: how it is predicted, and no setting of it
LOAD_KEYS = {CONCURRENCY: "concurrency", USERS: "users", RATE: "request_rate"}
NOT_THE_WORK = NEVER | set(LOAD_KEYS.values()) | {"num_prompts", "hold"}  # the load, and what follows from it
UNIT = "load in"
LENGTHS = ("input_len", "output_len")


def curve_settings(points: Sequence[Settings], loads: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    """Return for each point the settings of its curve; empty dictionaries if the sweep has one curve.

    If the number of requests follows from the load, it is not a setting of the curve.
    """
    settings = [flat(point) | {UNIT: unit} for point, (_, unit) in zip(points, loads, strict=True)]
    ignored = NEVER | {LOAD_KEYS[unit] for _, unit in loads if unit in LOAD_KEYS}
    pairs = {(load, each.get("num_prompts")) for each, load in zip(settings, loads, strict=True)}
    if len(pairs) == len(set(loads)):
        ignored.add("num_prompts")
    varied = [name for name in differing(settings) if name not in ignored]
    return [{name: each.get(name) for name in varied} for each in settings]


def curve_name(settings: Settings) -> str:
    """Name a curve by its settings; empty if the sweep has one curve."""
    return ", ".join(f"{name} {value_words(value)}" for name, value in settings.items())


def value_words(value: Any) -> str:
    """Return the value of a setting as text; whole numbers without decimals, as a mean length of 20.0."""
    if value is None:
        return "none"
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else f"{value}"


def differing(settings: Sequence[Settings]) -> list[str]:
    """Return the names whose values differ, in the order in which they first appear."""
    names = dict.fromkeys(name for each in settings for name in each)
    return [name for name in names if len({json.dumps(each.get(name)) for each in settings}) > 1]


def flat(settings: Settings) -> dict[str, Any]:
    """Return settings by their last name: `workload.input_len` is `input_len`.

    What describes drawn lengths keeps the name before it, `output_len.mean`: prompts and answers may each have a mean.
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name == TWIN:
            continue
        if not isinstance(value, dict) or name == "curve":
            found[name] = value
        elif name in LENGTHS:
            found |= {f"{name}.{part}": number for part, number in value.items()}
        else:
            found |= flat(value)
    return found


def distinguishing(settings: Sequence[Settings], first: Sequence[str] = ()) -> list[str]:
    """Return as few names as tell all of these apart, those in `first` before others; all that differ if none do."""
    differ = differing(settings)
    ordered = [name for name in first if name in differ] + [name for name in differ if name not in first]

    def groups(names: Sequence[str]) -> int:
        return len({json.dumps([each.get(name) for name in names]) for each in settings})

    chosen: list[str] = []
    for name in ordered:
        if groups([*chosen, name]) > groups(chosen):
            chosen.append(name)
    most = groups(chosen)
    for name in reversed(chosen):  # what a later name tells, too
        if groups(others := [each for each in chosen if each != name]) == most:
            chosen = others
    return chosen
