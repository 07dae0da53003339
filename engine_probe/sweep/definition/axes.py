"""The axes of a sweep: their names, their values, and the combinations of them that are measured."""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.config_file import put
from engine_probe.files.key_meaning import about
from engine_probe.text_format import counted, plain, suggestion
from engine_probe.workload.load import CONCURRENCY, RATE, USERS

MOST_POINTS = 10_000
MOST_NAMED = 20  # values of an axis in an error
MODEL, ARGUMENT, WORKLOAD, PROBE = "engine.model", "engine.arguments.", "workload.", "probe"
VARIABLE = "engine.environment."
NAMED = (ARGUMENT, VARIABLE)  # axes whose names end with a name that is not ours
REPLICAS = "replicas"
LOADS = {f"{WORKLOAD}arrivals.users": USERS, f"{WORKLOAD}arrivals.request_rate": RATE}

Values = Mapping[str, Any]  # one combination: axis -> value


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """Values from `from` to `to`, by `step` or by `factor`: `{ from = 8192, to = 131072, step = 8192 }`."""

    first: Annotated[int, about("The first value.", 8192)]
    last: Annotated[int, about("The last value, included if the steps reach it.", 122880)]
    step: Annotated[int | None, about("Difference between two values.", 8192)] = None
    factor: Annotated[int | None, about("Ratio of two values, instead of step.", 2)] = None

    def values(self, name: str) -> list[int]:
        if (self.step is None) == (self.factor is None):
            raise InputError(f"axes.{name}: give the range either step or factor")
        least, advance = (1, self.step) if self.step is not None else (2, self.factor)
        assert advance is not None
        if advance < least or (self.factor and self.first < 1):
            raise InputError(f"axes.{name}: by {advance} from {self.first} the range never reaches {self.last}")
        if self.last < self.first:
            raise InputError(f"axes.{name}: the range from {self.first} to {self.last} is empty")
        if self.factor is None:
            check_number((self.last - self.first) // advance + 1)  # before the list is made
            return list(range(self.first, self.last + 1, advance))
        found, value = [], self.first
        while value <= self.last:
            found.append(value)
            value *= advance
        return found


def check_number(points: int) -> None:
    if points > MOST_POINTS:
        raise InputError(f"axes: these make {points:,} points, more than {MOST_POINTS:,}: make the axes shorter")


def check_axis(name: str, workload_fields: tuple[str, ...]) -> None:
    """Refuse an axis that is none: engine.model, engine.arguments.<name>, workload.<field> and a few others are."""
    if name in (MODEL, PROBE, REPLICAS) or any(name.startswith(begin) and name != begin for begin in NAMED):
        return
    known = [
        MODEL,
        *(f"{begin}<name>" for begin in NAMED),
        *(f"{WORKLOAD}{field}" for field in workload_fields),
        REPLICAS,
        PROBE,
    ]
    if ".".join(name.split(".")[:2]) not in known:
        raise InputError(f"axes: {name} cannot vary" + suggestion(name, known, f": only {', '.join(known)} can"))


def combinations(
    axes: Mapping[str, list[Any] | Range], include: list[dict[str, Any]], exclude: list[dict[str, Any]]
) -> list[Values]:
    """Return the product of all axes, the last varying fastest, less `exclude` and with `include`."""
    values = {name: axis.values(name) if isinstance(axis, Range) else axis for name, axis in axes.items()}
    for name, found in values.items():
        if not found:
            raise InputError(f"axes.{name} is empty: give at least one value")
        if len({repr(value) for value in found}) < len(found):
            raise InputError(f"axes.{name} holds a value twice: {found}")
    check_number(math.prod(map(len, values.values())))
    for kind, rules in (("exclude", exclude), ("include", include)):
        for number, rule in enumerate(rules):
            check_rule(f"{kind}[{number}]", rule, values)
    product: Iterator[Values] = (
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    )
    kept: list[Values] = [chosen for chosen in product if not any(matches(chosen, rule) for rule in exclude)]
    kept += [dict(rule) for rule in include if rule not in kept]
    if not kept:
        raise InputError("exclude: no point is left: exclude less")
    return kept


def check_rule(place: str, rule: Mapping[str, Any], values: Mapping[str, list[Any]]) -> None:
    for name in rule:
        if name not in values:
            hint = suggestion(name, values, f": {', '.join(values) or 'none'} are")
            raise InputError(f"{place}: {name} is not an axis of this sweep{hint}")
    if place.startswith("exclude"):
        for name, wanted in rule.items():
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if value not in values[name]:
                    known = ", ".join(map(spelled, values[name][:MOST_NAMED]))
                    more = ", ..." if len(values[name]) > MOST_NAMED else ""
                    raise InputError(f"{place}: {name} is never {spelled(value)}: its values are {known}{more}")
    if place.startswith("include") and (missing := [name for name in values if name not in rule]):
        raise InputError(f"{place}: a point to include needs a value for every axis; {', '.join(missing)} is missing")


def matches(chosen: Values, rule: Mapping[str, Any]) -> bool:
    """Return whether a combination has the values of a rule, which names axes, each with a value or a list."""
    return all(
        chosen[name] in wanted if isinstance(wanted, list) else chosen[name] == wanted for name, wanted in rule.items()
    )


def documents(base: Mapping[str, Any], combined: list[Values]) -> Iterator[dict[str, Any]]:
    """Yield a copy of the base for each combination, with the combination's values set; {} leaves an argument out."""
    for chosen in combined:
        document = copy.deepcopy(dict(base))
        for name, value in chosen.items():
            put(document, name, value)
            if value == {} and name.startswith(NAMED):  # TOML has no word for what is left out
                _, section, left_out = name.split(".", 2)
                del document["engine"][section][left_out]
        yield document


def label(chosen: Values, varying: list[str], load_in: str = CONCURRENCY) -> str:
    """Name a point by the values of the axes that vary."""
    words = []
    for name in varying:
        short = name.rpartition(".")[2]
        if name == PROBE:
            words.append("probe on" if chosen[name] else "probe off")
            continue
        value = spelled(chosen[name])
        if name == REPLICAS:
            words.append(counted(chosen[name], "replica"))
        elif name == f"{WORKLOAD}concurrency":
            words.append(f"{'' if load_in == CONCURRENCY else 'max '}concurrency {value}")
        else:
            words.append(f"{value} {LOADS[name]}" if name in LOADS else f"{short} {value}")
    return plain(", ".join(words))


def spelled(value: Any) -> str:
    """Return a value as words: a table's values with their keys except `kind`, a path as its file's name."""
    if isinstance(value, Mapping) and value:
        return " ".join(
            spelled(inner) if key == "kind" else f"{key} {Path(inner).name if key == 'path' else spelled(inner)}"
            for key, inner in value.items()
        )
    if isinstance(value, list):
        return " ".join(map(spelled, value))
    return "none" if value is None or value == {} else str(value)
