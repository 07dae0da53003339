"""Count claims, with intervals that know that claims about one sweep stand or fall together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from tools.calibration.claims import Claim

# A bin of stated probabilities, in percent: from, and up to but without.
BINS = ((0, 50), (50, 60), (60, 70), (70, 80), (80, 90), (90, 95), (95, 99), (99, 101))
ALL = "all"
NORMAL = 1.959964  # of a 95 % interval

Key = tuple[str, str, str]  # topic, condition, bin


def bin_of(stated: float) -> str:
    """Name the bin of a stated probability."""
    percent = round(100 * stated, 6)
    low, high = next((low, high) for low, high in BINS if low <= percent < high)
    return f"{low}-{high}" if high <= 100 else f"{low} and over"


@dataclass
class Count:
    """Sums over clusters of claims; a cluster is all that one simulated measurement gives."""

    chances: int = 0  # claims that were made or could have been
    said: int = 0
    happened: int = 0
    stated: float = 0.0  # sum of the probabilities that were stated
    clusters: int = 0  # that said anything
    said_squares: int = 0
    happened_squares: int = 0
    products: int = 0

    def add(self, other: Count) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    @property
    def share(self) -> float:
        return self.happened / self.said if self.said else math.nan

    @property
    def mean_stated(self) -> float:
        return self.stated / self.said if self.said else math.nan

    @property
    def effective(self) -> float:
        """Return how many independent claims would tell as much, at most as many as there are."""
        share = self.share
        if self.said < 2 or not 0 < share < 1:
            return float(self.clusters)
        squares = self.happened_squares - 2 * share * self.products + share**2 * self.said_squares
        return min(float(self.said), share * (1 - share) * self.said**2 / squares) if squares > 0 else float(self.said)

    @property
    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval of the share, from that many independent claims."""
        count, share = self.effective, self.share
        if not count:
            return 0.0, 1.0
        widened = 1 + NORMAL**2 / count
        middle = share + NORMAL**2 / (2 * count)
        half = NORMAL * math.sqrt(share * (1 - share) / count + NORMAL**2 / (4 * count**2))
        return max(0.0, (middle - half) / widened), min(1.0, (middle + half) / widened)


class Tally(dict[Key, Count]):
    """A count for each topic, condition and bin; of the bins, `ALL` holds all claims."""

    def add_cluster(self, condition: str, claims: Iterable[Claim]) -> None:
        """Add the claims of one simulated measurement."""
        of_key: dict[Key, Count] = defaultdict(Count)
        for claim in claims:
            bins = [ALL] if claim.stated is None else [ALL, bin_of(claim.stated)]
            for name in bins:
                count = of_key[claim.topic, condition, name]
                count.chances += 1
                if claim.happened is not None:
                    count.said += 1
                    count.happened += claim.happened
                    count.stated += claim.stated or 0.0
        for key, count in of_key.items():
            count.clusters = int(count.said > 0)
            count.said_squares, count.happened_squares = count.said**2, count.happened**2
            count.products = count.said * count.happened
            self.setdefault(key, Count()).add(count)

    def add(self, other: Tally) -> None:
        for key, count in other.items():
            self.setdefault(key, Count()).add(count)

    def over(self, topic: str, conditions: Iterable[str], name: str = ALL) -> Count:
        """Return the count of several conditions together."""
        total = Count()
        for condition in conditions:
            if (topic, condition, name) in self:
                total.add(self[topic, condition, name])
        return total

    def conditions(self, topic: str) -> Iterator[str]:
        """Yield the conditions under which a topic came up, in the order in which they first did."""
        yield from dict.fromkeys(condition for known, condition, _ in self if known == topic)
