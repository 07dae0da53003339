"""The check of products: right results pass in every format, wrong values anywhere fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kernels_bench.benchmarks.attention import check_attention
from kernels_bench.benchmarks.context import Bench
from kernels_bench.benchmarks.matmul import BAND, check_product, product, search_shapes
from kernels_bench.benchmarks.memory_bandwidth import same
from kernels_bench.benchmarks.number_formats import (
    BF16,
    PRECISIONS,
    Operands,
    Precision,
    matmul_setting,
    operand_bytes,
    operands,
)
from kernels_bench.judge.verdicts import judge
from kernels_bench.results import FAIL, Device, Figure
from kernels_bench.timing.measure import QUICK
from tests.support.devices.fake_bench import FakeClock
from tests.support.values import values

CPU = torch.device("cpu")
PROCESSOR = Device("cpu", "a processor", "cpu-1", 8 << 30, 1 << 20, 2)


def made(precision: Precision = BF16, m: int = 256, n: int = 384, k: int = 512) -> Operands:
    data = operands(precision, m, n, k, CPU)
    with matmul_setting(precision):
        data.multiply()
    return data


@pytest.mark.lengthy
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: precision.name)
def test_torch_multiplies_rightly_in_every_format(precision: Precision) -> None:
    check = check_product(made(precision))
    assert check.passed
    assert check.compared == 2 * 384 + 3 * 256  # a row in each band of rows, a column in each of columns


def test_whole_numbers_are_exact() -> None:
    int8 = next(precision for precision in PRECISIONS if precision.name == "int8")
    data = made(int8)
    assert check_product(data).worst == 0
    data.out.add_(1)
    assert not check_product(data).passed


def spoil_tile(out: Any) -> None:
    out[BAND : 2 * BAND, BAND : 2 * BAND] = 0


def spoil_all_a_little(out: Any) -> None:
    out *= 1.02


def spoil_with_nan(out: Any) -> None:
    out[:, :BAND] = float("nan")


def spoil_row_band(out: Any) -> None:
    out[:BAND] = out[:BAND].flip(0)


@pytest.mark.parametrize("spoil", [spoil_tile, spoil_all_a_little, spoil_with_nan, spoil_row_band])
def test_a_wrong_product_is_caught(spoil: Callable[[Any], None]) -> None:
    data = made()
    spoil(data.out)
    assert not check_product(data).passed


@pytest.mark.lengthy
@pytest.mark.parametrize("precision", [kind for kind in PRECISIONS if kind.name != "fp16"], ids=lambda kind: kind.name)
def test_a_single_wrong_value_in_a_large_product_is_caught(precision: Precision) -> None:
    """It is most likely in no sampled row or column, but the row sums include every value. (FP16 on a CPU is slow.)"""
    data = made(precision, 512, 640, 768)
    check = check_product(data)
    assert (check.passed, check.compared) == (True, 512 * 640)
    data.out[77, 99] += 1 if precision.name == "int8" else 200
    assert not check_product(data).passed


def test_a_wrong_product_fails_the_card_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that skips its last tile gets the verdict FAIL."""

    def hasty(self: Operands) -> Any:
        torch.mm(self.a, self.b, out=self.out)
        self.out[-BAND:, -BAND:] = 0
        return self.out

    monkeypatch.setattr(Operands, "multiply", hasty)
    bench = Bench(PROCESSOR, FakeClock(lambda sample: 1e8), QUICK, True, lambda text: None)
    figure = product(bench, BF16, "bf16 square", (256, 256, 256))
    assert isinstance(figure, Figure)
    verdict, reasons = judge(figure, "NVIDIA L40S", (), None, None, 0.05)
    assert verdict == FAIL
    assert "wrong result against float64" in reasons[0]


def test_formats_a_card_lacks_say_why() -> None:
    card = Device("cuda:0", "Tesla T4", "GPU-1", 16 << 30, 4 << 20, 40, "7.5")
    lacking = {precision.name: precision.runs_on(card, (7, 5)) for precision in PRECISIONS}
    assert [name for name, reason in lacking.items() if reason] == ["bf16", "tf32", "fp8", "fp8 fast"]
    assert values(lacking["fp8"]) == ["8", "8.9", "7.5"]


def test_the_settings_for_products_come_back() -> None:
    tf32 = next(precision for precision in PRECISIONS if precision.name == "tf32")

    def settings() -> tuple[str, bool]:
        reduced: bool = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        return torch.get_float32_matmul_precision(), reduced

    before, inside = settings(), []

    def failing_kernel() -> None:
        with matmul_setting(tf32):
            inside.append(settings())
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        failing_kernel()
    assert inside == [("high", False)]
    assert settings() == before


def test_bytes_are_counted_exactly() -> None:
    assert operand_bytes(BF16, 2, 3, 5) == 2 * (2 * 5 + 3 * 5 + 2 * 3)
    int8 = next(precision for precision in PRECISIONS if precision.name == "int8")
    assert operand_bytes(int8, 2, 3, 5) == 2 * 5 + 3 * 5 + 4 * 2 * 3


def test_a_product_that_does_not_fit_is_not_tried() -> None:
    bench = Bench(PROCESSOR, FakeClock(lambda sample: 1e8), QUICK, True, lambda text: None)
    skipped = product(bench, BF16, "bf16 square", (1 << 20, 1 << 20, 1 << 20))
    assert not isinstance(skipped, Figure)
    assert skipped.verdict == "INVALID"
    assert "MiB may be taken" in skipped.reason


def test_a_slow_processor_searches_small_shapes_only() -> None:
    """At one operation per nanosecond a square of 512 already takes 0.27 s."""
    slow = Bench(PROCESSOR, FakeClock(lambda sample: 2 * 512.0**3), QUICK, True, lambda text: None)
    assert set(search_shapes(slow)) == {(512, 512, 512)}


def test_attention_is_checked_against_double_precision() -> None:
    q, k, v = (torch.randn(2, 8, length, 128, dtype=torch.bfloat16) for length in (4, 256, 256))
    got = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert check_attention(q, k, v, got).passed
    assert not check_attention(q, k, v, got.roll(1, 0)).passed


def test_a_copy_is_compared_bit_for_bit() -> None:
    sent = torch.arange(100)
    got = sent.clone()
    assert same(got, sent, "the source").passed
    got[50] ^= 1
    check = same(got, sent, "the source")
    assert (check.passed, check.worst) == (False, 1.0)
