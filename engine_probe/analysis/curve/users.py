"""Users and the requests that they hold in flight, by Little's law.

requests in flight = users x answer time / time from one request of a user to the next

A user who asks every T seconds but waits longer for an answer asks again only after it; one who thinks after each
answer asks again when both have passed. All figures are averages; those of independent users vary about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.repeats import Repeated, repeated


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
    found = []
    for load, points in sorted(grouped(figures, lambda point: point.load).items()):
        repeats = [point.summary for point in points]
        times = [each.e2el.mean_ms / 1e3 for each in repeats if each.e2el.mean_ms is not None]
        answer = repeated(times)
        if answer is not None and len(times) == len(repeats):
            rate = sum(each.requests_per_s for each in repeats) / len(repeats)
            found.append(LevelUsers(load, answer, rate, sum(each.mean_running for each in repeats) / len(repeats)))
    return found
