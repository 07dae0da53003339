"""Matrix products: their rate, and whether the results are right.

Every number format of the device is measured with a large square; BF16 also with many shapes, the best of which is the
ceiling of a roofline (as mamf-finder does), and with the shapes of decoding, where M is the batch size and reading the
weight takes the time.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
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
from kernels_bench.results import INVALID, Check, Detail, Figure, Skipped, Trial
from kernels_bench.timing.measure import COLD_CACHES, Effort, OutOfTimeError, Work, brief, rate

SQUARE = 8192
CPU_SQUARES = (4096, 2048, 1024, 512)
CPU_CALL_S = 0.1  # a CPU gets the largest square that takes less than this
BAND = 128  # one row and one column of each band are checked, so that every tile of that size is hit
SLAB = 2048  # rows or columns that are computed in double precision at a time
SUMMED_FROM = 512  # rows and columns; smaller products have too few errors to judge the row sums by
ALLOWED_DEVIATIONS = 8
NORMAL_MEDIAN = 0.6745  # of the absolute value of a standard normal number
EXACT = 1e-12  # share of the largest sum by which double precision itself may be off, generously

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
    """Time one product, then check its result."""
    m, n, k = shape
    needed = operand_bytes(precision, m, n, k)
    if needed > bench.usable_bytes():
        reason = f"{m}×{n}×{k} takes {needed >> 20} MiB and {bench.usable_bytes() >> 20} MiB may be taken"
        return Skipped("gemm", name, reason, verdict=INVALID)
    data = operands(precision, m, n, k, bench.torch_device)
    samples = bench.measure(name, Work((data.multiply,), needed, graph=False))
    check = check_product(data)
    return rate("gemm", name, precision.unit, 2 * m * n * k, samples, check, {"m": m, "n": n, "k": k})


def cpu_side(bench: Bench, precision: Precision) -> int:
    """Return the largest square that takes less than CPU_CALL_S, estimated from the smallest."""
    rate_flops = _small_rate(bench, precision)
    quick_enough = [side for side in CPU_SQUARES if 2 * side**3 / rate_flops < CPU_CALL_S]
    return quick_enough[0] if quick_enough else CPU_SQUARES[-1]


def _small_rate(bench: Bench, precision: Precision) -> float:
    side = CPU_SQUARES[-1]
    data = operands(precision, side, side, side, bench.torch_device)
    bench.clock.time_ns((data.multiply,), 3, False)
    return 2 * side**3 / min(bench.clock.time_ns((data.multiply,), 5, False)) * 1e9


def search(bench: Bench) -> Findings:
    """Find the best BF16 rate over many shapes.

    The winner of short measurements was also lucky, so the best few are measured again in full, and only that counts.
    """
    name = "bf16 best shape"
    if BF16.runs_on(bench.device, bench.capability()):
        return
    bench.require_time(name)
    shapes = list(search_shapes(bench))
    Random(0).shuffle(shapes)  # so that a slow GPU, which does not try them all, tries a fair sample
    planned_s = QUICK_SEARCH_S if bench.quick else SEARCH_S
    search_s = min(planned_s, bench.left_s / 2)  # the other half is for the finalists
    rates = short_rates(bench, shapes, bench.clock.now_ns() + search_s * 1e9)
    best = sorted(rates, key=lambda shape: rates[shape], reverse=True)[:FINALISTS]
    findings = list(full_products(bench, name, best))
    if not findings:
        raise OutOfTimeError(name)
    figures = [finding for finding in findings if isinstance(finding, Figure)]
    if not figures:
        yield Skipped("gemm", name, "no shape of the search fits into the memory that may be taken", verdict=INVALID)
        return
    wrong = [figure for figure in figures if figure.check and not figure.check.passed]
    chosen = wrong[0] if wrong else max(figures, key=lambda figure: figure.value)
    detail = {**chosen.detail, "shapes_tried": len(rates), "shapes": len(shapes)}
    trials = tuple(Trial({"m": m, "n": n, "k": k}, value) for (m, n, k), value in sorted(rates.items()))
    measured_less = short_of(len(rates), len(shapes), "shapes") if search_s < planned_s else []
    measured_less += short_of(len(findings), len(best), "finalists")
    yield msgspec.structs.replace(chosen, detail=detail, trials=trials, measured_less=tuple(measured_less))


def short_rates(
    bench: Bench, shapes: Sequence[tuple[int, int, int]], until_ns: float
) -> dict[tuple[int, int, int], float]:
    """Measure shapes briefly, at least one, until the clock shows `until_ns` or the time budget is spent."""
    rates: dict[tuple[int, int, int], float] = {}
    with suppress(OutOfTimeError):
        for shape in shapes:
            if rates and bench.clock.now_ns() > until_ns:
                break
            rates[shape] = short_rate(bench, brief(bench.effort), shape)
    return rates


def full_products(bench: Bench, name: str, shapes: Sequence[tuple[int, int, int]]) -> Findings:
    """Measure products in full until the time budget is spent."""
    with suppress(OutOfTimeError):
        for shape in shapes:
            yield product(bench, BF16, name, shape)


def short_of(count: int, planned: int, unit: str) -> list[str]:
    return [f"{count} of {planned} {unit}"] if count < planned else []


def search_shapes(bench: Bench) -> Iterator[tuple[int, int, int]]:
    sides: tuple[int, ...] = QUICK_SEARCH_SIDES if bench.quick else SEARCH_SIDES
    if not bench.device.is_cuda:
        largest = cpu_side(bench, BF16)
        smaller = tuple(side for side in CPU_SQUARES if side <= largest)
        sides = smaller[:2] if bench.quick else smaller
    usable = bench.usable_bytes()
    for m in sides:
        for n in sides:
            for k in sides:
                if operand_bytes(BF16, m, n, k) <= usable:
                    yield m, n, k


def short_rate(bench: Bench, effort: Effort, shape: tuple[int, int, int]) -> float:
    m, n, k = shape
    data = operands(BF16, m, n, k, bench.torch_device)
    work = Work((data.multiply,), operand_bytes(BF16, m, n, k), graph=False)
    return 2 * m * n * k / replace(bench, effort=effort).measure(f"bf16 {m}×{n}×{k}", work).median_ns * 1e9


def decode(bench: Bench) -> Findings:
    """Measure few rows times a whole weight, with so many copies of the weight that no cache holds them."""
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
        turns = [operands(BF16, m, DECODE_N, DECODE_K, bench.torch_device) for _ in range(copies)]
        work = Work(tuple(data.multiply for data in turns), copies * moved)
        samples = bench.measure(name, work)
        detail: Detail = {"m": m, "n": DECODE_N, "k": DECODE_K}
        detail["operations"] = 2 * m * DECODE_N * DECODE_K
        yield rate("gemm", name, "B/s", moved, samples, check_product(turns[-1]), detail)


def check_product(data: Operands) -> Check:
    """Compare rows and columns of C with double precision, one in each band, so that every tile is hit.

    |error| ≤ u_result·|c| + (2·u_input + min(k, chain)·u_sum + k/chain·2⁻²³) · (|A||B|): the textbook bound of a
    dot product (Higham, Accuracy and Stability, section 3.1). A larger error is not rounding. A large product is also
    summed by row, which finds a single wrong value far from the sampled ones.
    """
    a, b, (m, n) = _indexable(data.a), _indexable(data.b), data.out.shape
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


def _worst(precision: Precision, a: Any, b: Any, result: Any) -> float:
    """Return the largest error as a share of what rounding allows; infinity if the result holds a NaN."""
    left, right, k = a.double(), b.double(), a.shape[1]
    exact = left @ right
    terms = left.abs() @ right.abs()
    chain = min(k, precision.chain)
    dot = 2 * precision.input_rounding + chain * precision.sum_rounding + (k / chain * 2.0**-23 if chain < k else 0.0)
    allowed = precision.result_rounding * exact.abs() + dot * terms
    error = (result.double() - exact).abs()
    if not bool(torch.isfinite(error).all()):
        return float("inf")
    share = torch.where(error == 0, torch.zeros_like(error), error / allowed)
    return float(share.max())


def _worst_row_sum(a: Any, b: Any, out: Any) -> float:
    """Compare every row of C, summed with random signs, with A·(B·signs): Freivalds' check.

    Rounding leaves in each row a sum of many small errors with random signs, which is nearly normal and alike in all
    rows, so their median gives the standard deviation. A row off by eight of them occurs once in 10¹⁰ products.
    """
    signs = torch.randint(0, 2, (out.shape[1],), device=out.device).double() * 2 - 1
    slabs = range(0, out.shape[1], SLAB)
    inner = sum(b[:, at : at + SLAB].double() @ signs[at : at + SLAB] for at in slabs)
    left = torch.cat([part.double() @ inner for part in a.split(SLAB)])
    right = torch.cat([part.double() @ signs for part in out.split(SLAB)])
    error = (right - left).abs()
    if not bool(torch.isfinite(error).all()):
        return float("inf")
    deviation = max(float(error.quantile(0.5)) / NORMAL_MEDIAN, EXACT * float(left.abs().max()))
    return float(error.max()) / (ALLOWED_DEVIATIONS * deviation)


def _indexable(values: Any) -> Any:
    """Convert one-byte formats, which not every device can index, to BF16, which holds their values exactly."""
    return values.to(torch.bfloat16) if values.dtype.itemsize == 1 else values


def _one_per_band(length: int, device: Any) -> Any:
    starts = torch.arange(0, length, BAND, device=device)
    widths = torch.clamp(length - starts, max=BAND)
    return starts + (torch.rand(len(starts), device=device) * widths).long()
