"""A run over time, downsampled for charts without losing an extreme."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine_probe.analysis.run.token_times import update_end_ns
from engine_probe.analysis.statistics.arrays import Integers, Reals

PEAK_WINDOW_NS = 200_000_000  # the interval at which servers' metrics are commonly read
STEPS_PER_BIN = 4  # of a throughput; fewer would show single steps


@dataclass(frozen=True, eq=False)
class Thinned:
    """Downsampled levels: each pair of points is the minimum and the maximum of `steps_each` steps."""

    seconds: Reals
    columns: dict[str, npt.NDArray[Any]]
    means: dict[str, npt.NDArray[Any]]
    steps_each: int


def thinned(seconds: Reals, columns: dict[str, npt.NDArray[Any]], points: int) -> Thinned:
    count = len(seconds)
    if count <= points:
        return Thinned(seconds, columns, columns, 1)
    size = -(-count // (points // 2))
    buckets = -(-count // size)
    places = np.minimum(np.arange(buckets * size), count - 1).reshape(buckets, size)
    spread = np.arange(count) // size
    moments = np.column_stack([seconds[places[:, 0]], seconds[places[:, size // 2]]])
    kept, means = {}, {}
    for name, values in columns.items():
        rows = values[places]
        kept[name] = extremes(rows)
        means[name] = np.repeat(np.add.reduceat(values, places[:, 0], dtype=np.float64) / np.bincount(spread), 2)
    return Thinned(moments.ravel(), kept, means, size)


def extremes(buckets: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return minimum and maximum of each row, in the order in which they occurred."""
    pairs = np.sort(np.column_stack([buckets.argmin(axis=1), buckets.argmax(axis=1)]), axis=1)
    return np.take_along_axis(buckets, pairs, axis=1).ravel()


@dataclass(frozen=True, eq=False)
class Pace:
    """Throughput and KV occupancy in equal parts of the time."""

    seconds: Reals  # the middle of each part
    output_tokens_per_s: Reals
    kv_share: Reals  # mean over the part
    part_seconds: float


def pace(iterations: pa.Table, kv_blocks: int, most_parts: int = 240) -> Pace | None:
    """Return throughput and KV occupancy over time. None with too few steps for two parts.

    Between the ends of two steps tokens count as evenly spread.
    """
    parts = min(most_parts, iterations.num_rows // STEPS_PER_BIN)
    if parts < 2:
        return None
    begin, ends = int(iterations["start_ns"][0].as_py()), update_end_ns(iterations)
    marks = np.linspace(begin, int(ends[-1]), parts + 1)
    times = np.r_[begin, ends]
    width_s = (int(ends[-1]) - begin) / parts / 1e9
    tokens = np.interp(marks, times, np.r_[0, np.cumsum(iterations["output_tokens"].to_numpy(), dtype=np.int64)])
    used = iterations["kv_blocks_scheduled"].to_numpy() * np.diff(times)
    filled = np.interp(marks, times, np.r_[0.0, np.cumsum(used)])
    middles = (marks[:-1] + marks[1:]) / 2 - begin
    share = np.diff(filled) / (width_s * 1e9) / kv_blocks
    return Pace(middles / 1e9, np.diff(tokens) / width_s, share, width_s)


def highest_rate(begin: int, ends: Integers, tokens: Integers) -> float | None:
    """Return the most tokens per second in any PEAK_WINDOW_NS of a run. None if it is shorter.

    Between the ends of two steps tokens count as evenly spread: a window is not higher for cutting a step's end off.
    """
    times, counts = np.r_[begin, ends], np.r_[0, np.cumsum(tokens, dtype=np.int64)]
    first, last = times[0], times[-1] - PEAK_WINDOW_NS
    if last < first:
        return None
    marks = np.r_[times, times - PEAK_WINDOW_NS]  # the rate of a sliding window is highest where one of its ends is one
    marks = marks[(marks >= first) & (marks <= last)]
    within = np.interp(marks + PEAK_WINDOW_NS, times, counts) - np.interp(marks, times, counts)
    return float(within.max()) / (PEAK_WINDOW_NS / 1e9)


def stretches(of_step: npt.NDArray[Any], starts: Integers, ends: Integers, most: int) -> list[tuple[int, int, int]]:
    """Return (kind, begin_ns, end_ns) of consecutive steps of one kind.

    If these are more than `most`, return the kind that lasted longest in each of `most` equal parts of the steps.
    """
    if not len(of_step):
        return []
    changes = np.flatnonzero(np.diff(of_step)) + 1
    if len(changes) >= most:
        edges = np.linspace(0, len(of_step), most + 1).astype(np.int64)
        part = np.repeat(np.arange(most), np.diff(edges))
        kinds = int(of_step.max()) + 1
        lasted = np.bincount(part * kinds + of_step, weights=ends - starts, minlength=most * kinds)
        of_step = np.repeat(lasted.reshape(most, kinds).argmax(axis=1), np.diff(edges))
        changes = np.flatnonzero(np.diff(of_step)) + 1
    firsts = np.r_[0, changes]
    lasts = np.r_[changes, len(of_step)] - 1
    return list(zip(of_step[firsts].tolist(), starts[firsts].tolist(), ends[lasts].tolist(), strict=True))
