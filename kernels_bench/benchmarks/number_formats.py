"""The number formats a matrix product comes in, how each is run in torch, and how far rounding may carry it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from kernels_bench.benchmarks.random_values import normal
from kernels_bench.results import Device, Unit

REDUCED_SUMS = ("allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction")


@dataclass(frozen=True)
class Precision:
    """One format. The roundings are relative to one operation; 0 where there is none."""

    name: str
    operand: Any  # torch's type of A and B
    result: Any  # and of C
    since: tuple[int, int] | None  # the compute capability that has it in hardware; None: every device
    on_cpu: bool
    matmul: str = "highest"  # torch's float32 setting
    input_rounding: float = 0.0  # of a value on its way into the multiplier
    sum_rounding: float = 2.0**-23  # of one addition; tensor cores cut off where others round
    chain: int = 1 << 30  # additions before the sum moves to a float32 one
    unit: Unit = "FLOP/s"

    @property
    def bytes(self) -> int:
        return int(self.operand.itemsize)

    @property
    def result_rounding(self) -> float:
        return float(torch.finfo(self.result).eps / 2) if self.result.is_floating_point else 0.0

    def runs_on(self, device: Device, capability: tuple[int, int]) -> str:
        """Why it does not run there, or nothing."""
        if not device.is_cuda:
            return "" if self.on_cpu else f"{self.name} is measured on cards only"
        if self.since and capability < self.since:
            return (
                f"{self.name} is in hardware from compute capability {self.since[0]}.{self.since[1]}, "
                f"this card has {device.capability}"
            )
        return ""


BF16 = Precision("bf16", torch.bfloat16, torch.bfloat16, (8, 0), True)
PRECISIONS = (
    BF16,
    Precision("fp32", torch.float32, torch.float32, None, True),
    Precision("tf32", torch.float32, torch.float32, (8, 0), False, matmul="high", input_rounding=2.0**-10),
    Precision("fp16", torch.float16, torch.float16, (7, 0), False),
    # Hopper adds products of FP8 with about 14 bits and moves the sum to float32 every 128 of them
    # (DeepSeek-V3 technical report, section 3.3.2).
    Precision("fp8", torch.float8_e4m3fn, torch.bfloat16, (8, 9), False, sum_rounding=2.0**-13, chain=128),
    Precision("int8", torch.int8, torch.int32, (7, 5), False, sum_rounding=0.0, unit="OP/s"),
)


@dataclass(frozen=True)
class Operands:
    """A is m × k, row by row. B is k × n as its format wants it."""

    precision: Precision
    a: Any
    b: Any
    out: Any
    one: Any  # the scale of FP8

    def multiply(self) -> Any:
        if self.precision.name == "int8":
            return torch._int_mm(self.a, self.b, out=self.out)
        if self.precision.name == "fp8":
            scales = {"scale_a": self.one, "scale_b": self.one, "out_dtype": self.out.dtype}
            return torch._scaled_mm(self.a, self.b, use_fast_accum=False, out=self.out, **scales)
        return torch.mm(self.a, self.b, out=self.out)


def operands(precision: Precision, m: int, n: int, k: int, place: Any, out: Any = None) -> Operands:
    """Fresh random numbers. B lies as a layer's weight does: n rows of k, seen transposed."""
    made = torch.empty(m, n, dtype=precision.result, device=place) if out is None else out
    one = torch.ones((), device=place)
    return Operands(precision, _random(precision, m, k, place), _random(precision, n, k, place).t(), made, one)


def operand_bytes(precision: Precision, m: int, n: int, k: int) -> int:
    return (m * k + n * k) * precision.bytes + m * n * int(precision.result.itemsize)


@contextmanager
def matmul_setting(precision: Precision) -> Iterator[None]:
    """float32 products as this format means them, and sums in float32 to the end: torch lets cuBLAS add the parts
    of a split sum in BF16 or FP16, which no bound of rounding tells from a fault. The process's own settings come
    back."""
    settings, before = torch.backends.cuda.matmul, torch.get_float32_matmul_precision()
    kept = {name: getattr(settings, name) for name in REDUCED_SUMS}
    torch.set_float32_matmul_precision(precision.matmul)
    for name in REDUCED_SUMS:
        setattr(settings, name, False)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        for name, value in kept.items():
            setattr(settings, name, value)


def _random(precision: Precision, rows: int, columns: int, place: Any) -> Any:
    if precision.operand is torch.int8:
        return torch.randint(-128, 128, (rows, columns), dtype=torch.int8, device=place)
    if precision.bytes == 1:
        return torch.randn(rows, columns, device=place).to(precision.operand)
    return normal((rows, columns), precision.operand, place)
