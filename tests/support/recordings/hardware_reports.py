"""Reports as a box of cards would make them, with every kind of row; for pages and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations

import msgspec

from kernels_bench.results import (
    FAIL,
    INVALID,
    MEASURED,
    PASS,
    SKIPPED,
    WARN,
    Check,
    Device,
    DeviceReport,
    Figure,
    Finding,
    Health,
    Reading,
    Report,
    Result,
    Samples,
    Skipped,
    Trial,
    Unit,
)

GIB = 1 << 30
MIB = 1 << 20


def samples(median_ns: float, wide: float = 0.01) -> Samples:
    """Four rounds whose samples lie within `wide` of the median."""
    shares = [wide * math.sin(1.7 * number) for number in range(40)]
    rounds = tuple(tuple(median_ns * (1 + share) for share in shares[at : at + 10]) for at in range(0, 40, 10))
    return Samples(rounds, 1, 12, True, wide < 0.03, median_ns, median_ns * wide)


def measured(test: str, name: str, unit: Unit, value: float, wide: float = 0.01, **detail: str | int | float) -> Figure:
    work = int(value / 1e3)
    checked = Check(True, "float64", 1000, 0.1) if unit != "ns" else None
    return Figure(test, name, unit, value, work, samples(value if unit == "ns" else 1e6, wide), checked, detail)


def rows(card: str, factor: float) -> Iterator[Result]:
    copy = measured("memory", "copy", "B/s", 4.3e12 * factor, buffer_bytes=2 * GIB)
    sizes = tuple(
        Trial({"bytes": size * MIB}, 4.3e12 * factor * size / (size + 8)) for size in (1, 4, 16, 64, 256, 1024)
    )
    copy = msgspec.structs.replace(copy, trials=sizes)
    yield Result(
        PASS, ("90% of 4.80 TB/s (NVIDIA H200, datasheet)", "+0.4% against the baseline's 4.28 TB/s"), card, copy
    )
    yield Result(WARN, ("unstable",), card, measured("memory", "read", "B/s", 4.1e12 * factor, 0.09))
    square = measured("gemm", "bf16 square", "FLOP/s", 7.8e14 * factor, m=8192, n=8192, k=8192)
    yield Result(PASS, ("79% of 990 TFLOP/s",), card, square)
    sides = (2048, 4096, 8192, 16384)
    heats = tuple(
        Trial({"m": m, "n": n, "k": k}, 8e14 * factor * (1 - 1 / (1 + m * n * k / 3e10)))
        for m in sides
        for n in sides
        for k in sides
    )
    best = measured("gemm", "bf16 best shape", "FLOP/s", 8e14 * factor, m=16384, n=8192, k=8192, shapes_tried=64)
    yield Result(MEASURED, ("81% of 990 TFLOP/s",), card, msgspec.structs.replace(best, trials=heats))
    yield Result(FAIL, ("wrong result against float64",), card, measured("gemm", "fp8 square", "FLOP/s", 1.2e15))
    for m in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        decode = measured("gemm", f"bf16 decode M={m}", "B/s", 4e12 * factor / (1 + m / 600), m=m, n=14336, k=4096)
        yield Result(MEASURED, ("83% of 4.80 TB/s",), card, decode)
    yield Result(MEASURED, ("no pass mark known",), card, measured("launch", "in a graph", "ns", 1900.0))
    yield Result(
        INVALID, ("PCIe width under load is 8, this slot allows 16",), card, measured("pcie", "to card", "B/s", 2e10)
    )
    yield Result(
        MEASURED, ("72% of 990 TFLOP/s",), card, measured("sustained", "bf16 60 s", "FLOP/s", 7.1e14, m=8, n=8, k=8)
    )
    why = "tf32 is in hardware from compute capability 8.0"
    yield Result(SKIPPED, (why,), card, skipped=Skipped("gemm", "tf32 square", why))


def box(cards: int = 4, name: str = "NVIDIA H200") -> Report:
    parts, results = [], []
    for number in range(cards):
        target = f"cuda:{number}"
        curve = tuple(
            Reading(at * 100_000_000, 1980 - at, 3201, 400_000 + 5000 * min(at, 60), 40 + min(30, at // 3), 4)
            for at in range(120)
        )
        health = Health(
            driver="580.95", memory_bytes=141 * GIB, ecc=True, ecc_corrected=0, pcie_replays=3, processes=()
        )
        device = Device(target, name, f"GPU-{number}", 141 * GIB, 50 << 20, 132, "9.0")
        found = (Finding(WARN, "persistence mode is off: the first use after a pause waits for the driver"),)
        after = msgspec.structs.replace(health, pcie_replays=3 + number)
        parts.append(DeviceReport(device, health, after, found, curve))
        results += rows(target, 0.9 if number == 2 else 1.0)
    paths = {}
    for one, other in permutations(range(cards), 2):
        pair = f"cuda:{one}→cuda:{other}"
        paths[pair] = "NVLink"
        speed = 3.2e11 if 2 in (one, other) else 3.9e11 + 1e9 * (one + other)
        results.append(Result(PASS, ("NVLink, 87%",), pair, measured("p2p", "one way", "B/s", speed)))
        results.append(Result(MEASURED, ("",), pair, measured("p2p", "latency", "ns", 2500.0 + 40 * one + 90 * other)))
    reduced = measured("allreduce", "8192 tokens × 8192", "B/s", 3.6e11)
    results.append(Result(MEASURED, ("no pass mark known",), "all", reduced))
    versions = {"torch": "2.13.0", "driver": "580.95"}
    return Report(
        *("kernels_bench/1", "2026-11-21T10:00:00+00:00", 250.0, ("kernels_bench", "--device", "all"), False, 0.05),
        versions,
        tuple(parts),
        tuple(results),
        paths,
    )
