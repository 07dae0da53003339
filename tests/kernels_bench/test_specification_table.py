"""The table of what makers say: complete rows, dense rates, found by NVML's name."""

from __future__ import annotations

from itertools import chain

import pytest

from kernels_bench.specifications import LANE_BYTES_PER_S, specification_of, specifications

REACHED = ("Tesla V100-SXM2-16GB", "Tesla T4", "NVIDIA A100-SXM4-80GB", "NVIDIA L40S", "NVIDIA H100 80GB HBM3",
           "NVIDIA H200", "NVIDIA B200", "NVIDIA GeForce RTX 4090")  # fmt: skip


@pytest.mark.parametrize("name", REACHED)
def test_the_cards_of_the_last_years_are_there(name: str) -> None:
    row = specification_of(name)
    assert row is not None
    assert row.source
    assert row.memory_gb_per_s > 0


def test_every_name_stands_once() -> None:
    names = list(chain.from_iterable(row.names for row in specifications()))
    assert len({name.removeprefix("NVIDIA ").casefold() for name in names}) == len(names)


def test_names_match_with_and_without_the_maker() -> None:
    assert specification_of("L40S") == specification_of("NVIDIA L40S")
    assert specification_of("NVIDIA Tesla T4") == specification_of("Tesla T4")
    assert specification_of("NVIDIA L400") is None


def test_the_l40s_by_its_datasheet() -> None:
    row = specification_of("NVIDIA L40S")
    assert row is not None
    assert row.ceiling("memory", "copy") == 864e9
    assert row.ceiling("gemm", "bf16 square") == 362.05e12  # dense; the sheet also has 733 with sparsity
    assert row.ceiling("gemm", "bf16 decode M=1") == 864e9  # a weight read once: memory is the limit
    assert row.ceiling("launch", "operator") is None


def test_dense_rates_keep_their_order() -> None:
    """Half the bits never run slower, and no row has slipped to its sparse figure: FP8 is at most 2.1 times BF16."""
    for row in specifications():
        tera = row.tera
        if "tf32" in tera and "bf16" in tera:
            assert tera["tf32"] <= tera["bf16"], row.names
        if "fp8" in tera and "bf16" in tera:
            assert tera["bf16"] < tera["fp8"] <= 2.1 * tera["bf16"], row.names


def test_a_pcie_link_by_generation_and_lanes() -> None:
    row = specification_of("NVIDIA L40S")
    assert row is not None
    assert row.ceiling("pcie", "to card, pinned") == pytest.approx(31.5e9, rel=1e-3)
    assert row.ceiling("pcie", "both ways, pinned") == pytest.approx(63.0e9, rel=1e-3)
    assert LANE_BYTES_PER_S[1] == 250e6
