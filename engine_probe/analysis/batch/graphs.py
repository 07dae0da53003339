"""CUDA graphs and padding: how the forwards of a run ran, and what padding and steps outside the graphs cost.

padding share   1 - tokens asked / tokens computed
padding cost    each forward's device time x its own padding share, over the device time of all: an upper bound, for
                a forward's time grows at most in proportion to its tokens (each costs as much, beside a fixed part)
outside cost    decode steps just above the largest graph against those just below it, by the time from step to
                step: what exceeds growth in proportion to the tokens is a lower bound, for the same reason
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.statistics.arrays import Flags, Integers

MODES = ("outside graphs", "piecewise graphs", "full graph")  # by the code of `workers.graph_mode`
OUTSIDE = 0
NEAR = 0.25  # of the largest graph's size: steps so far from it are alike
FEWEST = 20  # steps on either side


@dataclass(frozen=True)
class ModeUse:
    name: str
    steps: int
    time_share: float  # of the busy time
    asked_tokens: int
    computed_tokens: int

    @property
    def padding_share(self) -> float:
        return 1 - self.asked_tokens / self.computed_tokens if self.computed_tokens else 0.0


@dataclass(frozen=True)
class Leaving:
    """Decode steps just below and just above the largest graph, by medians."""

    largest: int  # tokens of the largest graph
    steps: tuple[int, int]  # below, above
    tokens: tuple[float, float]  # asked
    ns: tuple[float, float]  # from step to step

    @property
    def least_ns(self) -> float:
        """Return the lower bound of what a step above cost for being outside; 0 if growth by its tokens explains it."""
        return max(0.0, self.ns[1] - self.ns[0] * max(1.0, self.tokens[1] / self.tokens[0]))


@dataclass(frozen=True)
class GraphUse:
    modes: tuple[ModeUse, ...]  # those that occurred
    largest: int | None  # tokens of the largest graph; None without graphs
    decode_beyond: float  # share of the busy time in decode steps outside graphs, with more tokens than the largest
    padding_cost: float | None  # at most, of the device time of the forwards; None if they were not timed
    leaving: Leaving | None  # None without enough steps on both sides

    @property
    def padding_share(self) -> float:
        asked = sum(mode.asked_tokens for mode in self.modes)
        computed = sum(mode.computed_tokens for mode in self.modes)
        return 1 - asked / computed if computed else 0.0


def graph_use(
    facts: dict[str, Any], iterations: pa.Table, workers: pa.Table, busy: Integers, profiled: Flags | None = None
) -> GraphUse | None:
    """Return the use of graphs, given the time from step to step. None without graphs, and if vLLM told no modes.

    All ranks of an engine run the same batch in the same way, so that one speaks for all. Steps of a window of
    operators do not count.
    """
    known = workers.filter(
        pc.and_(pc.is_valid(workers["computed_tokens"]), pc.less(workers["iteration"], iterations.num_rows))
    )
    if profiled is not None:
        known = known.filter(pa.array(~profiled[known["iteration"].to_numpy()]))
    first = known.filter(pc.equal(known["rank"], pc.min(known["rank"])))
    names = ("graph_mode", "scheduled_tokens", "computed_tokens", "iteration")
    mode, asked, computed, number = (pc.fill_null(first[name], OUTSIDE).to_numpy() for name in names)
    largest = (facts.get("compilation") or {}).get("max_capture_size") or None
    if not len(mode) or (largest is None and not mode.any() and (asked >= computed).all()):
        return None
    asked, spent = np.minimum(asked, computed), busy[number]  # vLLM may leave out drafts that were scheduled
    decode = iterations["prefill_tokens"].to_numpy()[number] == 0
    beyond = decode & (mode == OUTSIDE) & (asked > (largest or np.inf))
    total = float(spent.sum()) or 1.0

    def use(code: int) -> ModeUse:
        at = mode == code
        share = float(spent[at].sum()) / total
        return ModeUse(MODES[code], int(at.sum()), share, int(asked[at].sum()), int(computed[at].sum()))

    return GraphUse(
        modes=tuple(map(use, np.unique(mode).tolist())),
        largest=largest,
        decode_beyond=float(spent[beyond].sum()) / total,
        padding_cost=padding_cost(known),
        leaving=leaving(largest, asked, spent, decode & (mode != OUTSIDE), beyond) if largest else None,
    )


def padding_cost(known: pa.Table) -> float | None:
    """Return the share of the forwards' device time that padding took at most. None unless every forward was timed."""
    if not known.num_rows or known["device_start_ns"].null_count:
        return None
    asked, computed, spent = (
        known[name].to_numpy().astype(np.float64) for name in ("scheduled_tokens", "computed_tokens", "device_ns")
    )
    total = float(spent.sum())
    return float(spent @ np.maximum(1 - asked / np.maximum(computed, 1), 0)) / total if total else None


def leaving(largest: int, asked: Integers, spent: Integers, below: Flags, beyond: Flags) -> Leaving | None:
    """Compare the decode steps on both sides of the largest graph."""
    sides = (below & (asked > (1 - NEAR) * largest), beyond & (asked <= (1 + NEAR) * largest))
    steps = (int(sides[0].sum()), int(sides[1].sum()))
    if min(steps) < FEWEST:
        return None

    def medians(values: Integers) -> tuple[float, float]:
        return float(np.median(values[sides[0]])), float(np.median(values[sides[1]]))

    return Leaving(largest, steps, medians(asked), medians(spent))
