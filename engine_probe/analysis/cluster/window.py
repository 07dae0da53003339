"""The time in which several engines run together, and the tokens that each of them delivers in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from engine_probe.analysis.run.token_times import TimeSpan, update_end_ns
from engine_probe.analysis.statistics.arrays import Integers


@dataclass(frozen=True)
class EngineTimes:
    """An engine's steps on the clock that all engines share."""

    ran: TimeSpan  # from its first step to its last
    held: TimeSpan | None  # in which it held its load; None if it did not, or for too short a time
    ends_ns: Integers  # of its steps
    tokens: Integers  # that each step delivered

    def tokens_in(self, window: TimeSpan) -> int:
        """Return the tokens of the steps that ended after the window's begin, up to its end."""
        first, after = np.searchsorted(self.ends_ns, window, "right")
        return int(self.tokens[first:after].sum())


def engine_times(iterations: pa.Table, held: TimeSpan | None, ahead_ns: int = 0) -> EngineTimes:
    """Return the times of a recording whose clock is so far ahead of the common one."""
    ends = update_end_ns(iterations) - ahead_ns
    ran = int(iterations["start_ns"][0].as_py()) - ahead_ns, int(ends[-1])
    moved = None if held is None else (held[0] - ahead_ns, held[1] - ahead_ns)
    return EngineTimes(ran, moved, ends, iterations["output_tokens"].to_numpy())


@dataclass(frozen=True)
class CommonWindow:
    """The time in which all engines run, and the tokens of each engine in it."""

    begin_ns: int
    end_ns: int
    held: bool  # all engines hold their load in it; if not, some are still filling or already emptying
    tokens: tuple[int, ...]
    share: float  # of the longest run of an engine
    skew_ns: int  # between the first engine's begin and the last one's

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """Return the output tokens per second of each engine."""
        return tuple(tokens / self.seconds for tokens in self.tokens)

    @property
    def output_tokens(self) -> int:
        return sum(self.tokens)

    @property
    def output_tokens_per_s(self) -> float:
        return self.output_tokens / self.seconds


def common_window(engines: Sequence[EngineTimes]) -> CommonWindow | None:
    """Return the time in which all engines hold their load, or else in which all run. None if there is none."""
    held = [engine.held for engine in engines if engine.held is not None]
    spans = [(True, held)] if len(held) == len(engines) else []
    for is_held, found in (*spans, (False, [engine.ran for engine in engines])):
        window = max(begin for begin, _ in found), min(end for _, end in found)
        if window[0] < window[1]:
            begins = [engine.ran[0] for engine in engines]
            longest = max(engine.ran[1] - engine.ran[0] for engine in engines)
            return CommonWindow(
                *window,
                held=is_held,
                tokens=tuple(engine.tokens_in(window) for engine in engines),
                share=(window[1] - window[0]) / longest,
                skew_ns=max(begins) - min(begins),
            )
    return None
