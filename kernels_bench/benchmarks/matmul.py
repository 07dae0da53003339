"""Matrix products: how many operations per second, and whether the numbers are right.

Every format the device has at one large square; in BF16 also the best of many shapes, which is what a roofline
wants for its ceiling (the idea of mamf-finder), and the shapes of decoding, where M is the batch and the weight's
bytes are what takes the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.number_formats import (
    BF16,
    PRECISIONS,
    Operands,
    Precision,
    matmul_setting,
    operand_bytes,
    operands,
)
from kernels_bench.results import INVALID, Check, Figure, Skipped, Trial
from kernels_bench.timing.measure import COLD_CACHES, Effort, OutOfTimeError, Work, brief, rate

SQUARE = 8192
CPU_SQUARES = (4096, 2048, 1024, 512)
CPU_CALL_S = 0.1  # the largest square that takes less than this
BAND = 128  # one row and one column are checked in each band of this many: no tile of that size escapes
SLAB = 2048  # rows or columns in double precision at a time
SUMMED_FROM = 512  # rows and columns, so that the errors of a row are many and the rows too
SIZES, NORMAL_MEDIAN = 8, 0.6745  # NORMAL_MEDIAN: of the absolute value of a normal number of size 1
EXACT = 1e-12  # of the largest sum: what double precision itself may be off by, with room

SEARCH_SIDES = (2048, 3072, 4096, 6144, 8192, 12288, 16384)
QUICK_SEARCH_SIDES = (4096, 8192, 16384)
FINALISTS = 3
SEARCH_S, QUICK_SEARCH_S = 60.0, 10.0

DECODE_N, DECODE_K = 14336, 4096  # the up projection of an 8B Llama
DECODE_M = (1, 2, 4, 8, 16, 32, 64, 128, 256)
QUICK_DECODE_M = (1, 16, 256)
CPU_DECODE_M = (1, 16)


def run(bench: Bench) -> Findings:
    yield from squares(bench)
    with matmul_setting(BF16):
        yield from search(bench)
        yield from decode(bench)


def squares(bench: Bench) -> Findings:
    for precision in PRECISIONS:
        name = f"{precision.name} square"
        if reason := precision.runs_on(bench.device, bench.capability()):
            if bench.device.is_cuda:
                yield Skipped("gemm", name, reason)
            continue
        with matmul_setting(precision):
            side = SQUARE if bench.device.is_cuda else cpu_side(bench, precision)
            yield product(bench, precision, name, (side, side, side))


def product(bench: Bench, precision: Precision, name: str, shape: tuple[int, int, int]) -> Figure | Skipped:
    """One figure: timed, then checked."""
    m, n, k = shape
    needed = operand_bytes(precision, m, n, k)
    if needed > bench.usable_bytes():
        reason = f"{m}×{n}×{k} takes {needed >> 20} MiB and {bench.usable_bytes() >> 20} MiB may be taken"
        return Skipped("gemm", name, reason, verdict=INVALID)
    data = operands(precision, m, n, k, bench.place)
    samples = bench.measure(name, Work((data.multiply,), needed, graph=False))
    check = check_product(data)
    return rate("gemm", name, precision.unit, 2 * m * n * k, samples, check, {"m": m, "n": n, "k": k})


def cpu_side(bench: Bench, precision: Precision) -> int:
    """The largest square whose product ends in time, judged by the smallest."""
    rate_flops = _small_rate(bench, precision)
    fitting = [side for side in CPU_SQUARES if 2 * side**3 / rate_flops < CPU_CALL_S]
    return fitting[0] if fitting else CPU_SQUARES[-1]


def _small_rate(bench: Bench, precision: Precision) -> float:
    side = CPU_SQUARES[-1]
    data = operands(precision, side, side, side, bench.place)
    bench.clock.time_ns((data.multiply,), 3, False)
    return 2 * side**3 / min(bench.clock.time_ns((data.multiply,), 5, False)) * 1e9


def search(bench: Bench) -> Findings:
    """The best BF16 rate over many shapes. The winner of a short heat was also lucky, so the finalists run again
    in full, and only that is the figure."""
    name = "bf16 best shape"
    if BF16.runs_on(bench.device, bench.capability()):
        return
    bench.require_time(name)
    shapes = list(search_shapes(bench))
    Random(0).shuffle(shapes)  # a slow card does not get through them all: what it tried is spread over them
    planned_s = QUICK_SEARCH_S if bench.quick else SEARCH_S
    search_s = min(planned_s, bench.left_s / 2)  # the other half is for the finalists
    until_ns = bench.clock.now_ns() + search_s * 1e9
    heats: dict[tuple[int, int, int], float] = {}
    for shape in shapes:
        if heats and bench.clock.now_ns() > until_ns:
            break
        try:
            heats[shape] = heat(bench, brief(bench.effort), shape)
        except OutOfTimeError:
            break
    if not heats:
        raise OutOfTimeError(name)
    best = sorted(heats, key=lambda shape: heats[shape], reverse=True)[:FINALISTS]
    figures: list[Figure | Skipped] = []
    for shape in best:
        try:
            figures.append(product(bench, BF16, name, shape))
        except OutOfTimeError:
            break
    if not figures:
        raise OutOfTimeError(name)
    rated = [figure for figure in figures if isinstance(figure, Figure)]
    if not rated:
        yield Skipped("gemm", name, "no shape of the search fits into the memory that may be taken", verdict=INVALID)
        return
    wrong = [figure for figure in rated if figure.check and not figure.check.passed]
    chosen = wrong[0] if wrong else max(rated, key=lambda figure: figure.value)
    detail = {**chosen.detail, "shapes_tried": len(heats), "shapes": len(shapes)}
    trials = tuple(Trial({"m": m, "n": n, "k": k}, value) for (m, n, k), value in sorted(heats.items()))
    cut = short_of(len(heats), len(shapes), "shapes") if search_s < planned_s else []
    cut += short_of(len(figures), len(best), "finalists")
    yield msgspec.structs.replace(chosen, detail=detail, trials=trials, measured_less=tuple(cut))


def short_of(count: int, wanted: int, what: str) -> list[str]:
    return [f"{count} of {wanted} {what}"] if count < wanted else []


def search_shapes(bench: Bench) -> Iterator[tuple[int, int, int]]:
    sides: tuple[int, ...] = QUICK_SEARCH_SIDES if bench.quick else SEARCH_SIDES
    if not bench.device.is_cuda:
        largest = cpu_side(bench, BF16)
        fitting = tuple(side for side in CPU_SQUARES if side <= largest)
        sides = fitting[:2] if bench.quick else fitting
    usable = bench.usable_bytes()
    for m in sides:
        for n in sides:
            for k in sides:
                if operand_bytes(BF16, m, n, k) <= usable:
                    yield m, n, k


def heat(bench: Bench, effort: Effort, shape: tuple[int, int, int]) -> float:
    m, n, k = shape
    data = operands(BF16, m, n, k, bench.place)
    work = Work((data.multiply,), operand_bytes(BF16, m, n, k), graph=False)
    return 2 * m * n * k / replace(bench, effort=effort).measure(f"bf16 {m}×{n}×{k}", work).median_ns * 1e9


def decode(bench: Bench) -> Findings:
    """Few rows against a whole weight, out of a cache that does not hold it: several copies take turns."""
    if BF16.runs_on(bench.device, bench.capability()):
        return
    batches = CPU_DECODE_M if not bench.device.is_cuda else QUICK_DECODE_M if bench.quick else DECODE_M
    rate_flops = 0.0 if bench.device.is_cuda else _small_rate(bench, BF16)
    for m in batches:
        name = f"bf16 decode M={m}"
        moved = operand_bytes(BF16, m, DECODE_N, DECODE_K)
        if not bench.device.is_cuda and (seconds := 2 * m * DECODE_N * DECODE_K / rate_flops) > CPU_CALL_S:
            yield Skipped("gemm", name, f"one product takes about {seconds:.1f} s here")
            continue
        copies = COLD_CACHES * bench.device.cache_bytes // moved + 1
        if copies * moved > bench.usable_bytes():
            reason = f"{copies} weights take {copies * moved >> 20} MiB, {bench.usable_bytes() >> 20} may be taken"
            yield Skipped("gemm", name, reason, verdict=INVALID)
            continue
        turns = [operands(BF16, m, DECODE_N, DECODE_K, bench.place) for _ in range(copies)]
        work = Work(tuple(data.multiply for data in turns), copies * moved)
        samples = bench.measure(name, work)
        detail: dict[str, str | int | float] = {"m": m, "n": DECODE_N, "k": DECODE_K}
        detail["operations"] = 2 * m * DECODE_N * DECODE_K
        yield rate("gemm", name, "B/s", moved, samples, check_product(turns[-1]), detail)


def check_product(data: Operands) -> Check:
    """Rows and columns of C against double precision, one in each band, so that every tile is met.

    |error| ≤ u_result·|c| + (2·u_input + min(k, chain)·u_sum + k/chain·2⁻²³) · (|A||B|): the textbook bound of a
    dot product (Higham, Accuracy and Stability, section 3.1). What lies outside is no rounding. A large product is
    also summed by row, so that a single wrong value far from the sampled ones shows too.
    """
    a, b, (m, n) = _plain(data.a), _plain(data.b), data.out.shape
    rows, columns = _one_per_band(m, a.device), _one_per_band(n, a.device)
    slabs = [
        *((a[rows], b[:, at : at + SLAB], data.out[rows, at : at + SLAB]) for at in range(0, n, SLAB)),
        *((a[at : at + SLAB], b[:, columns], data.out[at : at + SLAB][:, columns]) for at in range(0, m, SLAB)),
    ]
    worst = max(_worst(data.precision, *slab) for slab in slabs)
    if min(m, n) < SUMMED_FROM:
        return Check(worst <= 1, "float64", len(rows) * n + len(columns) * m, worst)
    worst = max(worst, _worst_row_sum(a, b, data.out))
    return Check(worst <= 1, "float64", m * n, worst)


def _worst(kind: Precision, a: Any, b: Any, got: Any) -> float:
    """The largest error as a share of what rounding may do; infinite where the result is not a number."""
    left, right, k = a.double(), b.double(), a.shape[1]
    wanted = left @ right
    terms = left.abs() @ right.abs()
    chain = min(k, kind.chain)
    dot = 2 * kind.input_rounding + chain * kind.sum_rounding + (k / chain * 2.0**-23 if chain < k else 0.0)
    allowed = kind.result_rounding * wanted.abs() + dot * terms
    error = (got.double() - wanted).abs()
    if not bool(torch.isfinite(error).all()):
        return float("inf")
    share = torch.where(error == 0, torch.zeros_like(error), error / allowed)
    return float(share.max())


def _worst_row_sum(a: Any, b: Any, out: Any) -> float:
    """Every value of C, added up by row under random signs, against A·(B·signs): Freivalds' check.

    Rounding leaves in each row a sum of many small errors under random signs, nearly normal and alike in all rows,
    so the median of all rows tells its size. A row eight such sizes off comes by chance once in 10¹⁰ products.
    """
    signs = torch.randint(0, 2, (out.shape[1],), device=out.device).double() * 2 - 1
    cuts = range(0, out.shape[1], SLAB)
    inner = sum(b[:, at : at + SLAB].double() @ signs[at : at + SLAB] for at in cuts)
    left = torch.cat([part.double() @ inner for part in a.split(SLAB)])
    right = torch.cat([part.double() @ signs for part in out.split(SLAB)])
    off = (right - left).abs()
    if not bool(torch.isfinite(off).all()):
        return float("inf")
    size = max(float(off.quantile(0.5)) / NORMAL_MEDIAN, EXACT * float(left.abs().max()))
    return float(off.max()) / (SIZES * size)


def _plain(values: Any) -> Any:
    """One-byte formats cannot be indexed everywhere; BF16 holds each of their values exactly."""
    return values.to(torch.bfloat16) if values.dtype.itemsize == 1 else values


def _one_per_band(length: int, place: Any) -> Any:
    starts = torch.arange(0, length, BAND, device=place)
    widths = torch.clamp(length - starts, max=BAND)
    return starts + (torch.rand(len(starts), device=place) * widths).long()
