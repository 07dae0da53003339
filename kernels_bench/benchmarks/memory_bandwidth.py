"""How fast memory is: copy, read, write, triad, over buffers that no cache holds. Bytes are counted exactly.

Counted are the bytes that the operation must move. A processor that reads a line before it overwrites it moves
more; that is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.results import INVALID, Check, Figure, Skipped, Trial
from kernels_bench.timing.measure import COLD_CACHES, OutOfTimeError, Work, brief, rate

MIB = 1 << 20
WANTED_BYTES = 2048 * MIB  # each buffer on a card: some hundred microseconds even on the fastest
SIZES = tuple(size * MIB for size in (1, 4, 16, 64, 256, 1024))
QUICK_CPU_CACHES = COLD_CACHES // 2  # enough for what touches two buffers in a call, or in turn
VALUE_BYTES = 4
SCALE = 3.0
COMPARED = 1 << 20  # values of the triad that are checked
# Rounding errors of n random terms add up to this many times the root of n, or fewer, with probability
# 1 - 2 exp(-SURE²/2) (Higham and Mary 2019, theorem 2.4).
SURE = 6.0


def run(bench: Bench) -> Findings:
    size = buffer_bytes(bench)
    least = caches_in_a_buffer(bench) * bench.device.cache_bytes // MIB * MIB
    if size < least:
        reason = (
            f"four buffers of {least // MIB} MiB are needed and {bench.usable_bytes() // MIB} MiB may be taken: "
            "free some memory"
        )
        yield Skipped("memory", "bandwidth", reason, verdict=INVALID)
        return
    values = size // VALUE_BYTES
    a, b, c = (bench.random(values) for _ in range(3))
    total = torch.empty((), device=bench.place)
    picked = torch.randint(values, (min(COMPARED, values),), device=bench.place)
    detail: dict[str, str | int | float] = {"buffer_bytes": size}

    begun_ns = bench.clock.now_ns()
    work = Work((lambda: a.copy_(b),), 2 * size)
    samples = bench.measure("copy", work)
    copied = rate("memory", "copy", "B/s", 2 * size, samples, same(a, b, "the source"), detail)
    # Read, write and triad take about as long each, and come before the smaller copies where time is short.
    took_ns = bench.clock.now_ns() - begun_ns
    yield with_sizes(copied, replace(bench, until_ns=bench.until_ns - 3 * took_ns), a, b)

    bench.require_time("read", took_ns / 1e9)
    work = Work(tuple(partial(torch.sum, each, dim=0, out=total) for each in (c, b)), 2 * size)
    samples = bench.measure("read", work)
    torch.sum(b, dim=0, out=total)
    magnitude = torch.linalg.vector_norm(b, 1, dtype=torch.float64)
    check = _near(total, b.sum(dtype=torch.float64), magnitude, SURE * values**0.5)
    yield rate("memory", "read", "B/s", size + VALUE_BYTES, samples, check, detail)

    bench.require_time("write", took_ns / 1e9)
    work = Work((lambda: a.fill_(SCALE),), size)
    samples = bench.measure("write", work)
    yield rate("memory", "write", "B/s", size, samples, same(a, torch.full_like(a[:1], SCALE), "the value"), detail)

    bench.require_time("triad", took_ns / 1e9)
    work = Work((lambda: torch.add(b, c, alpha=SCALE, out=a),), 3 * size)
    samples = bench.measure("triad", work)
    wanted = b[picked].double() + SCALE * c[picked].double()
    check = _near(a[picked], wanted, b[picked].abs().double() + SCALE * c[picked].abs().double(), 2)
    yield rate("memory", "triad", "B/s", 3 * size, samples, check, detail)


def with_sizes(copied: Figure, bench: Bench, a: Any, b: Any) -> Figure:
    """Add smaller copies, and how many of them there was time for."""
    sizes = tuple(size for size in SIZES if size < a.nbytes)
    trials = tuple(by_size(bench, a, b, sizes))
    cut = () if len(trials) == len(sizes) else (f"{len(trials)} of {len(sizes)} smaller sizes",)
    return msgspec.structs.replace(copied, trials=trials, measured_less=cut)


def by_size(bench: Bench, a: Any, b: Any, sizes: Sequence[int]) -> Iterator[Trial]:
    """Measure smaller copies while there is time, each cold and launched alone."""
    short = replace(bench, effort=brief(bench.effort))
    for size in sizes:
        into, source = a[: size // VALUE_BYTES], b[: size // VALUE_BYTES]
        try:
            samples = short.measure(f"copy of {size // MIB} MiB", Work((partial(into.copy_, source),), 2 * size))
        except OutOfTimeError:
            return
        yield Trial({"bytes": size}, 2 * size / samples.median_ns * 1e9)


def caches_in_a_buffer(bench: Bench) -> int:
    """Return how many times the last-level cache a buffer is; what then touches too little is flushed."""
    return QUICK_CPU_CACHES if bench.quick and not bench.device.is_cuda else COLD_CACHES


def buffer_bytes(bench: Bench) -> int:
    """No more than is useful, and room left for a fourth: checking takes memory too. In whole MiB."""
    wanted = WANTED_BYTES if bench.device.is_cuda else caches_in_a_buffer(bench) * bench.device.cache_bytes
    return min(wanted, bench.usable_bytes() // 4) // MIB * MIB


def same(got: Any, wanted: Any, against: str) -> Check:
    """Bit for bit, every value."""
    different = int((got != wanted).sum())
    return Check(different == 0, against, got.numel(), float(different))


def _near(got: Any, wanted: Any, magnitude: Any, roundings: float) -> Check:
    """Against double precision. `magnitude` is the sum of the absolute terms."""
    unit = torch.finfo(torch.float32).eps / 2
    worst = float(((got.double() - wanted).abs() / (roundings * unit * magnitude)).max())
    return Check(worst <= 1, "float64", got.numel(), worst)
