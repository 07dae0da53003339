"""Users and the requests that they hold in flight, by Little's law.

requests in flight = users x answer time / time from one request of a user to the next

A user who asks every T seconds but waits longer for an answer asks again only after it; one who thinks after each
answer asks again when both have passed. All figures are averages; those of independent users vary about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine_probe.analysis.curve.levels import PointFigures, by_load, measured_in_rounds
from engine_probe.analysis.statistics.level_noise import over_levels
from engine_probe.analysis.statistics.repeats import Repeated


@dataclass(frozen=True)
class LevelUsers:
    """The answer time that was measured at a load, as means over its repeats, and the requests in flight."""

    load: float
    answer_seconds: Repeated  # mean E2EL
    requests_per_s: float
    running: float  # requests that ran, on average over the time

    @property
    def in_flight(self) -> float:
        """Return the requests in flight by Little's law: requests/s x mean answer time."""
        return self.requests_per_s * self.answer_seconds.mean


def level_users(figures: Sequence[PointFigures]) -> list[LevelUsers]:
    """Return the loads at which every repeat has answers, in order."""
    levels = by_load(figures)
    times = [(points[0].load, [answer_seconds(point) for point in points]) for points in levels]
    found = []
    for points, answer in zip(levels, over_levels(times, measured_in_rounds(figures)), strict=True):
        if answer is not None:
            rate = sum(point.summary.requests_per_s for point in points) / len(points)
            running = sum(point.summary.mean_running for point in points) / len(points)
            found.append(LevelUsers(points[0].load, answer, rate, running))
    return found


def answer_seconds(point: PointFigures) -> float | None:
    mean_ms = point.summary.e2el.mean_ms
    return None if mean_ms is None else mean_ms / 1e3
