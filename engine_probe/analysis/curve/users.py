"""Users and the requests that they hold in flight, by Little's law.

requests in flight = users x answer time / time from one request of a user to the next

A user who asks every T seconds but waits longer for an answer asks again only after it; one who thinks after each
answer asks again when both have passed. All figures are averages; those of independent users vary about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine_probe.analysis.curve.levels import PointFigures, measured_in_rounds
from engine_probe.analysis.statistics.grouped import grouped
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
    by_load = sorted(grouped(figures, lambda point: point.load).items())
    times = [(load, [answer_seconds(point) for point in points]) for load, points in by_load]
    found = []
    for (load, points), answer in zip(by_load, over_levels(times, measured_in_rounds(figures)), strict=True):
        if answer is not None:
            repeats = [point.summary for point in points]
            rate = sum(each.requests_per_s for each in repeats) / len(repeats)
            found.append(LevelUsers(load, answer, rate, sum(each.mean_running for each in repeats) / len(repeats)))
    return found


def answer_seconds(point: PointFigures) -> float | None:
    mean_ms = point.summary.e2el.mean_ms
    return None if mean_ms is None else mean_ms / 1e3
