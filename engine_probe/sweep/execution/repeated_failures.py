"""Engines that die the same way again and again: what need not be tried a third time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from engine_probe.engine.out_of_memory import WORDS
from engine_probe.engine.spec import EngineSpec
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.engine_process.messages import Began
from engine_probe.sweep.execution.events import Event, Finished
from engine_probe.sweep.results.point_results import Unmeasured

NOT_TRIED = "not tried: "
LOG = re.compile(r"; (?:see|all the engine said is in) \S+")  # each engine has a log of its own
VOLATILE = re.compile(r"\b0x[0-9a-f]+\b|\bpid=\d+")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
ELSEWHERE = re.compile(r"root cause", re.IGNORECASE)  # vLLM's words for whatever its other process died of
MEMORY = re.compile(rf"(?<!not the kernel for want of )\bmemory\b|{WORDS.pattern}", re.IGNORECASE)


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

    deaths: dict[EngineSpec, list[Death]] = field(default_factory=dict)  # since a point was measured
    failed_starts: list[tuple[EngineSpec, str]] = field(default_factory=list)
    any_started: bool = False

    def observed(self, engine: EngineSpec, events: Iterator[Event | Finished]) -> Iterator[Event | Finished]:
        """Learn from the events of one engine as they pass."""
        for event in events:
            if isinstance(event, Began):
                self.any_started = True
            if isinstance(event, Finished):
                if not isinstance(event.row, Unmeasured):
                    self.deaths.pop(engine, None)
                elif event.engine_died:
                    self.deaths.setdefault(engine, []).append(Death(event.row.point, event.row.reason))
            yield event

    def failed_to_start(self, engine: EngineSpec, reason: str) -> None:
        self.failed_starts.append((engine, reason))

    def reason_not_to_try(self, point: Point) -> str | None:
        """Return why this point is left out. None where it is to be measured."""
        deaths = self.deaths.get(point.engine.spec, [])
        if len(deaths) < 2 or alike(deaths[-2].reason) != alike(deaths[-1].reason):
            return None
        before, last = deaths[-2:]
        if same_but_repeat(before.point, last.point):
            given_up = same_but_repeat(point, last.point)
        elif MEMORY.search(last.reason):
            given_up = asks_no_less(point, before.point) or asks_no_less(point, last.point)
        else:
            given_up = True
        return f"{NOT_TRIED}the engine died twice the same way ({last.reason})" if given_up else None

    def reason_not_to_start(self, engine: EngineSpec) -> str | None:
        """Return why this engine is not started. None where it is to be started."""
        own = [reason for failed, reason in self.failed_starts if failed == engine]
        if len(own) >= 2 and alike(own[-2]) == alike(own[-1]):
            return f"{NOT_TRIED}the engine failed twice to start, the same way ({own[-1]})"
        *_, before, last = ["", "", *(reason for _, reason in self.failed_starts)]
        alone = MEMORY.search(last) or ELSEWHERE.search(last)
        if last and not self.any_started and not alone and words(before) == words(last):
            return f"{NOT_TRIED}two engines failed to start the same way ({last})"
        return None


def words(reason: str) -> str:
    """A reason without what differs from process to process."""
    return VOLATILE.sub("", LOG.sub("", reason))


def alike(reason: str) -> str:
    """A reason without any numbers."""
    return NUMBER.sub("N", words(reason))


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
