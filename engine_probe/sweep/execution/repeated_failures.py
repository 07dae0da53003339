"""Gives up engines that die the same way again and again: what has failed twice is not tried a third time."""

import re
from dataclasses import dataclass, field

import msgspec

from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.failures import WORDS
from engine_probe.errors import UnavailableError
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.execution.engine_run import Engine
from engine_probe.sweep.execution.events import Show
from engine_probe.sweep.execution.planned_point import EngineStartError, Measurement, PlannedPoint
from engine_probe.sweep.results.point_results import Row, Unmeasured

NOT_TRIED = "not tried: "
# The end of a reason: the path of a log, which each engine has of its own. What comes before may say "see", too.
LOG = re.compile(r"(.*); (?:see|all the engine said is in) .+", re.DOTALL)
VOLATILE = re.compile(r"\b0x[0-9a-f]+\b|\bpid=\d+")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
ELSEWHERE = re.compile(r"root cause", re.IGNORECASE)  # vLLM's words for whatever its other process died of
MEMORY = re.compile(rf"\bmemory\b|{WORDS.pattern}", re.IGNORECASE)

Specs = tuple[EngineSpec, ...]  # of the engines that measure a point; mostly one


@dataclass(frozen=True)
class Death:
    """A point at which the engine's process ended, and why."""

    point: Point
    reason: str


@dataclass
class EngineFailures:
    """Counts deaths and failed starts of engines, and says what is not tried any more.

    An engine that dies at two different points in a row for the same reason is given up; where the reason is memory,
    only the points that ask for no less than one of the two. An engine that fails twice to start for the same reason is
    given up. All engines of a sweep are, once two of them failed to start with the same words and none ever started:
    unless the reason is memory, or only points elsewhere, for then another engine may well start.
    """

    deaths: dict[Specs, list[Death]] = field(default_factory=dict)  # since a point was measured
    failed_starts: list[tuple[Specs, str]] = field(default_factory=list)
    any_started: bool = False

    def record(self, engine: Specs, measurement: Measurement) -> None:
        """Count a death; a point that is measured ends the count."""
        if not isinstance(measurement.row, Unmeasured):
            self.deaths.pop(engine, None)
        elif measurement.engine_died:
            self.deaths.setdefault(engine, []).append(Death(measurement.row.point, measurement.row.reason))

    def failed_to_start(self, engine: Specs, reason: str) -> None:
        self.failed_starts.append((engine, reason))

    def reason_not_to_try(self, point: Point) -> str | None:
        """Return why this point is left out. None where it is to be measured."""
        deaths = self.deaths.get(point.engines, [])
        if len(deaths) < 2 or without_numbers(deaths[-2].reason) != without_numbers(deaths[-1].reason):
            return None
        before, last = deaths[-2:]
        if same_but_repeat(before.point, last.point):
            given_up = same_but_repeat(point, last.point)
        elif MEMORY.search(last.reason):
            given_up = asks_no_less(point, before.point) or asks_no_less(point, last.point)
        else:
            given_up = True
        return f"{NOT_TRIED}the engine died twice the same way ({last.reason})" if given_up else None

    def reason_not_to_start(self, engine: Specs) -> str | None:
        """Return why this engine is not started. None where it is to be started."""
        own = [reason for failed, reason in self.failed_starts if failed == engine]
        if len(own) >= 2 and without_numbers(own[-2]) == without_numbers(own[-1]):
            return f"{NOT_TRIED}the engine failed twice to start, the same way ({own[-1]})"
        *_, before, last = ["", "", *(reason for _, reason in self.failed_starts)]
        alone = MEMORY.search(last) or ELSEWHERE.search(last)
        if last and not self.any_started and not alone and stripped(before) == stripped(last):
            return f"{NOT_TRIED}two engines failed to start the same way ({last})"
        return None


class GuardedEngine:
    """An engine whose failures are counted; once it has failed to start it is not started again."""

    def __init__(self, engine: Engine, spec: Specs, failures: EngineFailures) -> None:
        self._engine, self._spec, self._failures = engine, spec, failures
        reason = failures.reason_not_to_start(spec)
        self._given_up = EngineStartError(reason, UnavailableError.exit_code) if reason else None

    def measure(self, planned: PlannedPoint, show: Show) -> Row:
        """Return the row of the point: measured, or failed with the reason why the engine does not start."""
        if self._given_up is None:
            try:
                measurement = self._engine.measure(planned, show)
            except EngineStartError as error:
                self._failures.failed_to_start(self._spec, str(error))
                self._given_up = error
            else:
                self._failures.record(self._spec, measurement)
                return measurement.row
        return planned.failed(str(self._given_up), self._given_up.exit_code)


def stripped(reason: str) -> str:
    """Return a reason without what differs from process to process."""
    return VOLATILE.sub("", LOG.sub(r"\1", reason))


def without_numbers(reason: str) -> str:
    return NUMBER.sub("N", stripped(reason))


def same_but_repeat(one: Point, other: Point) -> bool:
    return msgspec.structs.replace(one, repeat=0, label="") == msgspec.structs.replace(other, repeat=0, label="")


def asks_no_less(point: Point, other: Point) -> bool:
    """Whether a point needs at least as much memory as another, as far as load and lengths tell."""
    if (point.quality, point.load_in) != (other.quality, other.load_in) or point.load < other.load:
        return False
    mine, its = point.workload.tokens_at_end, other.workload.tokens_at_end
    if mine is not None and its is not None:
        return mine >= its
    drawn = ("input_len", "output_len", "prompts")
    return all(getattr(point.workload, name) == getattr(other.workload, name) for name in drawn)
