"""The table of specifications: complete rows, dense rates, found by NVML's names."""

from __future__ import annotations

from itertools import chain

import msgspec
import pytest

from kernels_bench.devices.specifications import LANE_BYTES_PER_S, Specification, specification_of, specifications

REACHED = (
    *("Tesla V100-SXM2-16GB", "Tesla V100-PCIE-32GB", "Tesla V100S-PCIE-32GB", "Quadro RTX 6000", "TITAN RTX"),
    *("Tesla T4", "NVIDIA GeForce RTX 2080 Ti", "NVIDIA A100-PCIE-40GB", "A100-SXM4-40GB", "NVIDIA A100 80GB PCIe"),
    *("NVIDIA A100-SXM4-80GB", "NVIDIA A800-SXM4-80GB", "NVIDIA A2", "NVIDIA A10", "NVIDIA A10G", "NVIDIA A16"),
    *("NVIDIA A30", "NVIDIA A40", "NVIDIA RTX A6000", "RTX A5000", "NVIDIA GeForce RTX 3090", "GeForce RTX 3080"),
    *("NVIDIA L4", "NVIDIA L20", "NVIDIA L40", "NVIDIA L40S", "NVIDIA RTX 6000 Ada Generation"),
    *("NVIDIA GeForce RTX 4090", "NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA H800"),
    *("NVIDIA H20", "NVIDIA H200", "NVIDIA H200 NVL", "NVIDIA GH200 480GB", "NVIDIA B200", "NVIDIA GB200"),
    *("NVIDIA GeForce RTX 5090", "NVIDIA RTX PRO 6000 Blackwell Server Edition"),
)
# Dense operations of the tensor cores for one in plain float32, by generation: operations per clock and
# multiprocessor, 1024 : 128 on Volta and Turing, 2048 : 128 on the A100, 1024 : 256 on other Ampere, Ada and
# Blackwell cards for desks, 4096 : 256 on Hopper, 8192 : 256 on the B200 (NVIDIA's architecture whitepapers).
OVER_FP32 = {"7.0": 8, "7.5": 8, "8.0": 16, "8.6": 4, "8.9": 4, "9.0": 16, "10.0": 32, "12.0": 4}
CUT_DOWN = ("NVIDIA H20",)  # its tensor cores were slowed and its other cores were not


@pytest.mark.parametrize("name", REACHED)
def test_the_cards_of_the_last_years_are_there(name: str) -> None:
    row = specification_of(name)
    assert row is not None
    assert row.source
    assert row.compared
    assert row.memory_gb_per_s > 0


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"),
        ("NVIDIA H100 PCIe", "NVIDIA H100 NVL"),
        ("NVIDIA H200", "NVIDIA H200 NVL"),
        ("NVIDIA H200", "NVIDIA GH200 480GB"),
        ("NVIDIA L40", "NVIDIA L40S"),
        ("NVIDIA A10", "NVIDIA A100-SXM4-40GB"),
        ("NVIDIA B200", "NVIDIA GB200"),
    ],
)
def test_cards_whose_names_look_alike_are_told_apart(name: str, other: str) -> None:
    assert specification_of(name) != specification_of(other)


@pytest.mark.parametrize("name", ["NVIDIA H100", "NVIDIA A100", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "H200 141GB", ""])
def test_what_is_no_name_of_nvml_matches_nothing(name: str) -> None:
    assert specification_of(name) is None


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


def formats_that_do_not_fit(row: Specification) -> list[str]:
    """Return the formats whose rates are no plain multiple of the row's half precision, as one with sparsity is."""
    tera = row.tera
    half = tera.get("bf16") or tera.get("fp16")
    if half is None:
        return []
    found = [] if tera.get("fp16") == tera.get("bf16", half) else ["fp16"]
    if row.names[0] not in CUT_DOWN and "fp32" in tera:
        expected = OVER_FP32[row.capability] / (2 if row.half_rate else 1)
        found += [] if 0.85 * expected < half / tera["fp32"] < 1.02 * expected else ["fp32"]
    for name, times in (("tf32", (0.5,)), ("fp8", (2,)), ("int8", (2, 4) if row.half_rate else (2,))):
        if name in tera and not any(tera[name] == pytest.approx(time * half, rel=0.02) for time in times):
            found.append(name)
    return found


@pytest.mark.parametrize("row", specifications(), ids=lambda row: row.names[0])
def test_the_rates_of_a_row_are_dense(row: Specification) -> None:
    """A figure with sparsity is twice the dense one, and fits neither float32 nor the other formats of its row."""
    assert formats_that_do_not_fit(row) == []


@pytest.mark.parametrize(
    ("tera", "formats"),
    [
        ({"bf16": 733.0, "fp16": 733.0, "fp32": 91.6}, ["fp32"]),
        ({"bf16": 362.0, "fp16": 733.0, "fp32": 91.6}, ["fp16"]),
        ({"bf16": 362.0, "fp16": 362.0, "fp32": 91.6, "fp8": 1466.0, "int8": 1466.0}, ["fp8", "int8"]),
    ],
)
def test_a_figure_with_sparsity_would_be_noticed(tera: dict[str, float], formats: list[str]) -> None:
    row = specification_of("NVIDIA L40S")
    assert row is not None
    assert formats_that_do_not_fit(msgspec.structs.replace(row, tera=tera)) == formats


def test_what_nothing_confirms_names_columns_of_its_row() -> None:
    for row in specifications():
        assert set(row.unconfirmed) <= {"memory", "memory_gib", *row.tera}, row.names


def test_a_pcie_link_by_generation_and_lanes() -> None:
    row = specification_of("NVIDIA L40S")
    assert row is not None
    assert row.ceiling("pcie", "to card, pinned") == pytest.approx(31.5e9, rel=1e-3)
    assert row.ceiling("pcie", "both ways, pinned") == pytest.approx(63.0e9, rel=1e-3)
    assert LANE_BYTES_PER_S[1] == 250e6
