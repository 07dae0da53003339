"""Published figures of healthy L40S and H200 pass; figures of faulty ones do not."""

from __future__ import annotations

import msgspec
import pytest

from kernels_bench.devices.specifications import Specification, specification_of, specifications
from kernels_bench.judge.link_targets import by_path
from kernels_bench.judge.verdicts import judge
from kernels_bench.results import FAIL, MEASURED, PASS, WARN, Figure, Result, Unit, Verdict
from tests.support.devices.fake_bench import figure

COPY: tuple[str, str, Unit] = ("memory", "copy", "B/s")
SQUARE: tuple[str, str, Unit] = ("gemm", "bf16 square", "FLOP/s")
BEST: tuple[str, str, Unit] = ("gemm", "bf16 best shape", "FLOP/s")
FULL_SEARCH = {"shapes_tried": 343}


def row(card: str) -> Specification:
    found = specification_of(card)
    assert found is not None
    return found


def verdict_of(card: str, kind: tuple[str, str, Unit], value: float, **detail: int) -> Verdict:
    test, name, unit = kind
    return judge(figure(value, test, name, unit, detail=dict(detail)), card, (), row(card), None, 0.05)[0]


@pytest.mark.parametrize(
    ("card", "kind", "value", "expected"),
    [
        ("NVIDIA H200", COPY, 4.3e12, PASS),
        ("NVIDIA H200", SQUARE, 770e12, PASS),
        ("NVIDIA H200", SQUARE, 798e12, PASS),
        ("NVIDIA H200", COPY, 3.9e12, WARN),
        ("NVIDIA H200", SQUARE, 700e12, WARN),
        ("NVIDIA H200", COPY, 2.4e12, FAIL),  # half of its memory: more than half of the L40S's share
        ("NVIDIA H200", SQUARE, 420e12, FAIL),  # at half its clock it would still be above the L40S's share
        ("NVIDIA GeForce RTX 4090", SQUARE, 172e12, PASS),  # its sheet is for a clock that it exceeds
        ("NVIDIA GeForce RTX 4090", SQUARE, 330e12, WARN),  # and this would be another card, or with sparsity
        ("NVIDIA L40S", COPY, 0.73e12, PASS),
        ("NVIDIA L40S", SQUARE, 155e12, PASS),
        ("NVIDIA L40S", COPY, 0.70e12, FAIL),
        ("NVIDIA L40S", SQUARE, 140e12, FAIL),
    ],
)
def test_a_card_by_what_is_known_of_its_model(
    card: str, kind: tuple[str, str, Unit], value: float, expected: Verdict
) -> None:
    assert verdict_of(card, kind, value) == expected


@pytest.mark.parametrize("other", [card for card in specifications() if "gemm bf16 best shape" in card.seen])
def test_the_best_shape_is_held_to_what_others_found_over_as_many(other: Specification) -> None:
    seen, card = other.seen["gemm bf16 best shape"], other.names[0]
    assert verdict_of(card, BEST, seen, **FULL_SEARCH) == PASS
    assert verdict_of(card, BEST, 0.9 * seen, **FULL_SEARCH) == WARN
    assert verdict_of(card, BEST, 0.7 * seen, **FULL_SEARCH) == FAIL
    assert verdict_of(card, BEST, 0.9 * seen, shapes_tried=27) == MEASURED  # --quick tries few


def test_what_others_saw_is_named_with_its_source_and_below_the_makers_rate() -> None:
    for card in specifications():
        assert bool(card.seen) == bool(card.seen_by)
        for name, value in card.seen.items():
            ceiling = card.ceiling(*name.split(" ", 1))
            assert ceiling is not None
            assert 0.5 * ceiling < value < ceiling


@pytest.mark.parametrize(
    ("card", "path", "value", "expected"),
    [
        ("NVIDIA L40S", "same switch", 26e9, PASS),
        ("NVIDIA L40S", "same switch", 15e9, WARN),
        ("NVIDIA L40S", "same switch", 8e9, FAIL),
        ("NVIDIA L40S", "crossing NUMA", 8e9, WARN),
        ("NVIDIA H200", "NVLink", 390e9, PASS),
        ("NVIDIA H200", "NVLink", 200e9, WARN),
        ("Tesla T4", "same switch", 12.6e9, PASS),  # of generation 3 there is no more to be had
        ("Tesla T4", "same switch", 9e9, WARN),
        ("NVIDIA H100 PCIe", "same switch", 26e9, PASS),  # and of generation 5 no more is asked
    ],
)
def test_card_to_card(card: str, path: str, value: float, expected: Verdict) -> None:
    result = Result(MEASURED, ("",), "cuda:0→cuda:1", figure=figure(value, "p2p", "one way"))
    assert by_path(result, path, row(card)).verdict == expected


def test_two_cards_that_may_not_reach_each_other_are_told() -> None:
    """In many virtual machines, and on gaming GPUs, the copy works through the host's memory."""
    staged: Figure = figure(12e9, "p2p", "one way", detail={"direct": 0})
    result = by_path(Result(MEASURED, ("",), "cuda:0→cuda:1", figure=staged), "same switch", row("NVIDIA L40S"))
    assert "no direct access between the two" in result.reasons[0]
    direct = msgspec.structs.replace(result, figure=figure(12e9, "p2p", "one way", detail={"direct": 1}))
    assert "no direct access" not in by_path(direct, "same switch", row("NVIDIA L40S")).reasons[0]
