"""More GPUs in one engine against fewer, at the same load."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class More:
    """An engine with more GPUs against one with fewer, at one load."""

    load: float
    speedup: float  # throughput with more / with fewer
    cost: float | None  # cost with more / with fewer; None without prices
    engines: float | None  # throughput with more / of several small engines with as many GPUs, sharing the load evenly

    @property
    def pays(self) -> bool | None:
        """Return whether a token of the larger engine is cheaper."""
        return None if self.cost is None else self.speedup > self.cost


def more_cards(
    fewer: Mapping[float, float],
    more: Mapping[float, float],
    times: float,
    costs: tuple[Mapping[float, float | None], Mapping[float, float | None]],
) -> list[More]:
    """Compare two engines by throughput and cost per hour at each load; the larger has `times` as many GPUs.

    Several small engines share nothing, so their throughput is derived from one of them at its share of the load, if
    that was measured.
    """
    found = []
    for load in sorted(fewer.keys() & more.keys()):
        cheap, dear = (cost.get(load) for cost in costs)
        alone = fewer.get(load / times) if times == int(times) else None
        found.append(
            More(
                load=load,
                speedup=more[load] / fewer[load],
                cost=dear / cheap if cheap and dear is not None else None,
                engines=more[load] / (times * alone) if alone else None,
            )
        )
    return found
