"""How often one user asks, and how many users keep a number of requests in flight (Little's law)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Habit:
    """How often a user asks: at fixed intervals, or a fixed time after each answer."""

    every_seconds: float = 0.0
    think_seconds: float | None = None

    def cycle_seconds(self, answer_seconds: float) -> float:
        """Return the time from one request of a user to the next."""
        if self.think_seconds is not None:
            return answer_seconds + self.think_seconds
        return max(self.every_seconds, answer_seconds)

    def waiting_share(self, answer_seconds: float) -> float:
        """Return the share of the time in which a user waits for an answer."""
        return answer_seconds / self.cycle_seconds(answer_seconds)

    def in_flight(self, users: float, answer_seconds: float) -> float:
        return users * self.waiting_share(answer_seconds)

    def users(self, in_flight: float, answer_seconds: float) -> float:
        return in_flight / self.waiting_share(answer_seconds)
