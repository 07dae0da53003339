"""Random operands of matrix products, and the number formats: how each runs in torch, how large its errors may be."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from kernels_bench.results import Device, Unit

TILE = 4_194_301  # values; a prime, so that repeats do not line up with the rows of a matrix


def normal(shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    """Return normal numbers; on a CPU, which makes them slowly, `TILE` of them are repeated.

    On a GPU all are random, because regular data takes less power, so that the GPU would run faster than in real work.
    """
    values = torch.empty(shape, dtype=dtype, device=device)
    flat = values.view(-1)
    if values.device.type != "cpu" or len(flat) <= TILE:
        return values.normal_()
    tile = torch.randn(TILE, dtype=dtype)
    for start in range(0, len(flat), TILE):
        part = flat[start : start + TILE]
        part.copy_(tile[: len(part)])
    return values


REDUCED_SUMS = ("allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction")


@dataclass(frozen=True)
class Precision:
    """Describes one format; roundings are relative errors of one operation, 0 if there are none."""

    name: str
    operand: Any  # torch's type of A and B
    result: Any  # torch's type of C
    since: tuple[int, int] | None  # first compute capability with it in hardware; None: every device
    on_cpu: bool
    matmul: str = "highest"  # torch's float32 setting
    input_rounding: float = 0.0  # of a value that enters the multiplier
    sum_rounding: float = 2.0**-23  # of one addition; tensor cores truncate where others round
    chain: int = 1 << 30  # additions before the sum is added to a float32 one
    fast_sums: bool = False  # of FP8: all are added in the tensor cores' narrow sum
    unit: Unit = "FLOP/s"

    @property
    def bytes(self) -> int:
        return int(self.operand.itemsize)

    @property
    def result_rounding(self) -> float:
        return float(torch.finfo(self.result).eps / 2) if self.result.is_floating_point else 0.0

    def runs_on(self, device: Device, capability: tuple[int, int]) -> str:
        """Return why the format does not run on a device; empty if it does."""
        if not device.is_cuda:
            return "" if self.on_cpu else f"{self.name} is measured on GPUs only"
        if self.since and capability < self.since:
            return (
                f"{self.name} is in hardware from compute capability {self.since[0]}.{self.since[1]}, "
                f"this GPU has {device.capability}"
            )
        return ""


BF16 = Precision("bf16", torch.bfloat16, torch.bfloat16, (8, 0), True)
# Hopper adds products of FP8 with about 14 bits and moves the sum to float32 every 128 of them
# (DeepSeek-V3 technical report, section 3.3.2).
FP8 = Precision("fp8", torch.float8_e4m3fn, torch.bfloat16, (8, 9), False, sum_rounding=2.0**-13, chain=128)
PRECISIONS = (
    BF16,
    Precision("fp32", torch.float32, torch.float32, None, True),
    Precision("tf32", torch.float32, torch.float32, (8, 0), False, matmul="high", input_rounding=2.0**-10),
    Precision("fp16", torch.float16, torch.float16, (7, 0), False),
    FP8,
    replace(FP8, name="fp8 fast", chain=1 << 30, fast_sums=True),
    Precision("int8", torch.int8, torch.int32, (7, 5), False, sum_rounding=0.0, unit="OP/s"),
)


@dataclass(frozen=True)
class Operands:
    """Holds A, m × k in rows, and B, k × n in the layout that its format needs."""

    precision: Precision
    a: Any
    b: Any
    out: Any
    scale: Any  # 1, for FP8

    def multiply(self) -> Any:
        if self.precision.name == "int8":
            return torch._int_mm(self.a, self.b, out=self.out)
        if self.precision.operand is FP8.operand:
            how = {"out_dtype": self.out.dtype, "use_fast_accum": self.precision.fast_sums}
            return torch._scaled_mm(self.a, self.b, out=self.out, scale_a=self.scale, scale_b=self.scale, **how)
        return torch.mm(self.a, self.b, out=self.out)


def operands(precision: Precision, m: int, n: int, k: int, device: Any) -> Operands:
    """Make random operands; B is laid out like a layer's weight: n rows of k, transposed."""
    out = torch.empty(m, n, dtype=precision.result, device=device)
    scale = torch.ones((), device=device)
    return Operands(precision, _random(precision, m, k, device), _random(precision, n, k, device).t(), out, scale)


def operand_bytes(precision: Precision, m: int, n: int, k: int) -> int:
    return (m * k + n * k) * precision.bytes + m * n * int(precision.result.itemsize)


@contextmanager
def matmul_setting(precision: Precision) -> Iterator[None]:
    """Set torch's float32 precision for this format, and sums in float32; restore the settings afterwards.

    By default torch lets cuBLAS add the parts of a split sum in BF16 or FP16, whose errors look like a fault.
    """
    settings, before = torch.backends.cuda.matmul, torch.get_float32_matmul_precision()
    reduced_sums = {name: getattr(settings, name) for name in REDUCED_SUMS}
    torch.set_float32_matmul_precision(precision.matmul)
    for name in REDUCED_SUMS:
        setattr(settings, name, False)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        for name, value in reduced_sums.items():
            setattr(settings, name, value)


def _random(precision: Precision, rows: int, columns: int, device: Any) -> Any:
    if precision.operand is torch.int8:
        return torch.randint(-128, 128, (rows, columns), dtype=torch.int8, device=device)
    if precision.bytes == 1:
        return torch.randn(rows, columns, device=device).to(precision.operand)
    return normal((rows, columns), precision.operand, device)
