"""Memory bandwidth: copy, read, write and triad, over buffers that no cache holds.

The bytes counted are those that the operation must move. A CPU that reads a line before it overwrites it moves more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.results import INVALID, Check, Detail, Figure, Skipped, Trial
from kernels_bench.timing.measure import COLD_CACHES, OutOfTimeError, Work, brief, rate

MIB = 1 << 20
WANTED_BYTES = 2048 * MIB  # of each buffer on a GPU; some hundred microseconds even on the fastest
SIZES = tuple(size * MIB for size in (1, 4, 16, 64, 256, 1024))
QUICK_CPU_CACHES = COLD_CACHES // 2  # enough, because each call, or two calls in turn, touch two buffers
VALUE_BYTES = 4
SCALE = 3.0
COMPARED = 1 << 20  # values of the triad that are checked
# The rounding errors of n random terms add up to at most this many times the root of n, with probability
# 1 - 2 exp(-ERROR_FACTOR²/2) (Higham and Mary 2019, theorem 2.4).
ERROR_FACTOR = 6.0


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
    total = torch.empty((), device=bench.torch_device)
    picked = torch.randint(values, (min(COMPARED, values),), device=bench.torch_device)
    detail: Detail = {"buffer_bytes": size}

    started_ns = bench.clock.now_ns()
    work = Work((lambda: a.copy_(b),), 2 * size)
    samples = bench.measure("copy", work)
    copied = rate("memory", "copy", "B/s", 2 * size, samples, same(a, b, "the source"), detail)
    # Read, write and triad take about as long each; time for them is reserved before the smaller copies.
    took_ns = bench.clock.now_ns() - started_ns
    yield with_sizes(copied, replace(bench, until_ns=bench.until_ns - 3 * took_ns), a, b)

    bench.require_time("read", took_ns / 1e9)
    work = Work(tuple(partial(torch.sum, buffer, dim=0, out=total) for buffer in (c, b)), 2 * size)
    samples = bench.measure("read", work)
    torch.sum(b, dim=0, out=total)
    magnitude = torch.linalg.vector_norm(b, 1, dtype=torch.float64)
    check = _near(total, b.sum(dtype=torch.float64), magnitude, ERROR_FACTOR * values**0.5)
    yield rate("memory", "read", "B/s", size + VALUE_BYTES, samples, check, detail)

    bench.require_time("write", took_ns / 1e9)
    work = Work((lambda: a.fill_(SCALE),), size)
    samples = bench.measure("write", work)
    yield rate("memory", "write", "B/s", size, samples, same(a, torch.full_like(a[:1], SCALE), "the value"), detail)

    bench.require_time("triad", took_ns / 1e9)
    work = Work((lambda: torch.add(b, c, alpha=SCALE, out=a),), 3 * size)
    samples = bench.measure("triad", work)
    exact = b[picked].double() + SCALE * c[picked].double()
    check = _near(a[picked], exact, b[picked].abs().double() + SCALE * c[picked].abs().double(), 2)
    yield rate("memory", "triad", "B/s", 3 * size, samples, check, detail)


def with_sizes(copied: Figure, bench: Bench, a: Any, b: Any) -> Figure:
    """Add smaller copies to the figure, as many as there is time for."""
    sizes = tuple(size for size in SIZES if size < a.nbytes)
    trials = tuple(by_size(bench, a, b, sizes))
    measured_less = () if len(trials) == len(sizes) else (f"{len(trials)} of {len(sizes)} smaller sizes",)
    return msgspec.structs.replace(copied, trials=trials, measured_less=measured_less)


def by_size(bench: Bench, a: Any, b: Any, sizes: Sequence[int]) -> Iterator[Trial]:
    """Measure smaller copies while there is time, each with cold caches and launched alone."""
    short = replace(bench, effort=brief(bench.effort))
    for size in sizes:
        target, source = a[: size // VALUE_BYTES], b[: size // VALUE_BYTES]
        try:
            samples = short.measure(f"copy of {size // MIB} MiB", Work((partial(target.copy_, source),), 2 * size))
        except OutOfTimeError:
            return
        yield Trial({"bytes": size}, 2 * size / samples.median_ns * 1e9)


def caches_in_a_buffer(bench: Bench) -> int:
    """Return how many times as large as the last-level cache a buffer is; work that touches less is flushed."""
    return QUICK_CPU_CACHES if bench.quick and not bench.device.is_cuda else COLD_CACHES


def buffer_bytes(bench: Bench) -> int:
    """Return the size of a buffer in whole MiB, such that memory remains for a fourth one, which checking needs."""
    wanted = WANTED_BYTES if bench.device.is_cuda else caches_in_a_buffer(bench) * bench.device.cache_bytes
    return min(wanted, bench.usable_bytes() // 4) // MIB * MIB


def same(result: Any, expected: Any, against: str) -> Check:
    """Check that every value is equal."""
    different = int((result != expected).sum())
    return Check(different == 0, against, result.numel(), float(different))


def _near(result: Any, exact: Any, magnitude: Any, roundings: float) -> Check:
    """Compare with double precision; `magnitude` is the sum of the absolute terms."""
    unit = torch.finfo(torch.float32).eps / 2
    worst = float(((result.double() - exact).abs() / (roundings * unit * magnitude)).max())
    return Check(worst <= 1, "float64", result.numel(), worst)
