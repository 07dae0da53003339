"""Which measured ceiling the products of a model are held to, by its weights and what multiplies them."""

from typing import Any

import pytest

from engine_probe.analysis.step.ceilings import compute_ceiling, distinct_doubts

MEASURED = {"bf16": 1.0, "fp8": 1.9, "fp8 fast": 2.1, "int8": 2.2}


def facts(dtypes: dict[str, int], schemes: dict[str, int] | None, *without: str) -> dict[str, Any]:
    more = {"stable": True, "quick": False, "measured": "2026-11-21T09:00:00Z", "verdict": "trusted", "doubts": []}
    ceilings = {f"gemm {name} square": {"value": value, **more} for name, value in MEASURED.items()}
    for name in without:
        del ceilings[f"gemm {name} square"]
    return {
        "loaded": [{"dtypes": dtypes, **({} if schemes is None else {"schemes": schemes})}],
        "memory": [{"device": "GPU-1"}],
        "model": {"dtype": "bfloat16"},
        "hardware": {"ceilings": {"GPU-1": ceilings}},
    }


BF16, INT8, FP8 = {"bfloat16": 9}, {"int8": 9, "bfloat16": 1}, {"float8_e4m3fn": 9, "bfloat16": 1}


@pytest.mark.parametrize(
    ("dtypes", "schemes", "without", "name"),
    [
        (BF16, None, (), "gemm bf16 square"),
        (FP8, None, (), "gemm fp8 fast square"),
        (FP8, None, ("fp8 fast",), "gemm fp8 square"),  # ceilings of an older `validate`
        (FP8, None, ("fp8 fast", "fp8"), "gemm bf16 square"),  # an Ampere, where the weights are expanded
        (INT8, {"CompressedTensorsW8A8Int8": 8, "UnquantizedEmbeddingMethod": 2}, (), "gemm int8 square"),
        (INT8, {"QuarkW8A8Int8": 9}, (), "gemm int8 square"),
        (INT8, {"Int8OnlineMoEMethod": 9}, (), "gemm bf16 square"),  # W8A16
    ],
)
def test_products_are_held_to_the_type_that_they_are_multiplied_in(
    dtypes: dict[str, int], schemes: dict[str, int] | None, without: tuple[str, ...], name: str
) -> None:
    ceiling = compute_ceiling(facts(dtypes, schemes, *without))
    assert ceiling is not None
    assert ceiling.name == name


def test_int8_is_not_held_to_a_roof_of_another_type() -> None:
    assert compute_ceiling(facts(INT8, {"CompressedTensorsW8A8Int8": 9}, "int8")) is None


def test_a_recording_that_does_not_tell_how_int8_is_multiplied_has_no_roof() -> None:
    assert compute_ceiling(facts(INT8, None)) is None


def test_doubts_that_differ_in_a_percentage_are_one() -> None:
    busy = "measured while other programs used {} of the cores"
    found = distinct_doubts(["unstable", *(busy.format(share) for share in ("45%", "36%", "100%")), "unstable"])
    assert found == ("unstable", busy.format("36% to 100%"))
    assert distinct_doubts([busy.format("36%")]) == (busy.format("36%"),)
