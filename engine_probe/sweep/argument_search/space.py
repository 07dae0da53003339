"""The section [search] of a sweep file: which engine arguments vary, and what makes a setting better."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from engine_probe.analysis.compare.argument_trials import GOODPUT, OUTPUT, Objective
from engine_probe.analysis.run.slo import Slo
from engine_probe.engine.arguments import check_arguments
from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about

PLACE = "search.arguments"
DEFAULT = "default"  # the value of an argument that a setting leaves to vLLM, in names
LEFT_OUT: dict[str, Any] = {}  # TOML has no word for an argument that is left out

Setting = Mapping[str, Any]  # argument -> value


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values of one engine argument: numbers from `low` to `high`, or one of `choices`."""

    low: Annotated[int | float | None, about("The lowest value; whole numbers if low, high and step are.", 64)] = None
    high: Annotated[int | float | None, about("The highest value.", 2048)] = None
    log: Annotated[bool, about("Try values evenly on a logarithmic scale.", True)] = False
    step: Annotated[int | float | None, about("Difference between two values, from low on.", 16)] = None
    choices: Annotated[
        list[Any] | None,
        about("The values, of any type; an empty table leaves the argument out.", ["fcfs", "priority"]),
    ] = None

    @property
    def is_whole(self) -> bool:
        return all(isinstance(value, int) for value in (self.low, self.high, self.step) if value is not None)

    @property
    def values(self) -> list[Any]:
        """Return the choices, or the ends of the range."""
        return self.choices if self.choices is not None else [self.low, self.high]

    @property
    def count(self) -> int | None:
        """Return how many values there are. None for a range of real numbers."""
        if self.choices is not None:
            return len(self.choices)
        if not (self.is_whole or self.step):
            return None
        assert self.low is not None
        assert self.high is not None
        return int((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    @property
    def listed(self) -> list[Any]:
        """Return every value, of a span that has a count."""
        if self.choices is not None:
            return self.choices
        assert self.count is not None
        assert self.low is not None
        values = [self.low + number * (self.step or 1) for number in range(self.count)]
        return [int(value) for value in values] if self.is_whole else values

    @property
    def words(self) -> str:
        if self.choices is not None:
            return ", ".join(spelled(value) for value in self.choices)
        by = f" by {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{by}{', log' if self.log else ''}"

    def holds(self, value: Any) -> bool:
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / (self.step or 1)
        return not (self.step or self.is_whole) or abs(steps - round(steps)) < 1e-9

    def check(self, name: str) -> None:
        place, is_range = f"{PLACE}.{name}", self.low is not None or self.high is not None
        if (self.choices is not None) == is_range:
            raise InputError(f"{place}: give either low and high, or choices")
        if self.choices is not None:
            self._check_choices(self.choices, place)
            return
        if self.low is None or self.high is None:
            raise InputError(f"{place}: {'high' if self.high is None else 'low'} is missing: give both ends")
        if self.high <= self.low:
            raise InputError(f"{place}: high = {self.high:g} is not above low = {self.low:g}")
        if self.log and self.low <= 0:
            raise InputError(f"{place}: log needs a range above zero, and low is {self.low:g}")
        if self.log and self.step is not None:
            raise InputError(f"{place}: log and step exclude each other: leave one of the two out")
        if self.step is not None and self.step <= 0:
            raise InputError(f"{place}.step is {self.step:g}: give a number above zero")
        if self.step is not None and self.step > self.high - self.low:
            raise InputError(f"{place}: step = {self.step:g} leads from {self.low:g} beyond high = {self.high:g}")

    def _check_choices(self, choices: list[Any], place: str) -> None:
        if self.log or self.step is not None:
            raise InputError(f"{place}: log and step are for a range: leave them out with choices")
        if len({json.dumps(choice) for choice in choices}) < max(2, len(choices)):
            raise InputError(f"{place}.choices: give at least two different values, not {json.dumps(choices)}")


class ArgumentSearch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="engine_arguments"):
    """Search the engine arguments that give the most throughput at this workload.

    The first trial has the arguments of [engine] as they are. At the end the best setting and that one are measured
    again in turns, on new engines: the gain is of these measurements alone. With [adaptive] each trial also searches
    its load, by the limits of adaptive.slo, and counts at the best load that it measured.
    """

    arguments: Annotated[dict[str, Span], about("The engine arguments to vary, each with its values.")]
    objective: Annotated[
        Objective, about("What is to be highest; goodput counts the requests that meet search.slo.", GOODPUT)
    ] = OUTPUT
    slo: Annotated[Slo | None, about("Limits that a setting must meet.")] = None
    trials: Annotated[int, about("Number of settings to measure, the first included.", 13, ge=2, le=1000)] = 19
    confirm: Annotated[
        int, about("How often the first and the best setting are then measured again.", 2, ge=0, le=100)
    ] = 3
    seed: Annotated[int, about("Seed of the suggestions.", 1, ge=0, lt=2**32)] = 0

    @property
    def points(self) -> int:
        """Return the most points that it measures."""
        return self.trials + 2 * self.confirm

    @property
    def most_failed(self) -> int:
        """Return how many settings that cannot run are replaced by others."""
        return self.trials // 2

    @property
    def settings(self) -> int | None:
        """Return how many settings there are. None if a range holds real numbers."""
        total = 1
        for span in self.arguments.values():
            if span.count is None:
                return None
            total *= span.count
        return total

    def check(self) -> None:
        """Refuse what no search can do, and values that vLLM does not take."""
        if not self.arguments:
            raise InputError(f"{PLACE} is empty: name the engine arguments that may vary")
        for name, span in self.arguments.items():
            span.check(name)
            for value in span.values:
                if value != LEFT_OUT:
                    check_arguments({name: value}, PLACE)
        if self.slo is not None and self.slo.is_empty:
            raise InputError(
                "search.slo is empty: say what is allowed: ttft_ms, tpot_ms, e2el_ms, success_percent or several"
            )


def spelled(value: Any) -> str:
    """Return a value as words: one that is left out is the default."""
    if value == LEFT_OUT:
        return DEFAULT
    return value if isinstance(value, str) else json.dumps(value)


def applied(arguments: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    """Return engine arguments with those of a setting in place of their own."""
    merged = {**arguments, **setting}
    return {name: value for name, value in merged.items() if value != LEFT_OUT or name not in setting}


def named(search: ArgumentSearch, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the searched arguments among these, by which a setting is named; those left to vLLM are `default`."""
    return {name: arguments.get(name, DEFAULT) for name in search.arguments}


def own_setting(search: ArgumentSearch, arguments: Mapping[str, Any]) -> Setting | None:
    """Return the arguments of [engine] as a setting of the space. None if one of them is not in it."""
    own = {name: arguments.get(name, LEFT_OUT) for name in search.arguments}
    return own if all(search.arguments[name].holds(value) for name, value in own.items()) else None
