"""The roofs of a device as `kernels_bench` measured them on it: bytes and operations per second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MEMORY = ("memory read", "memory copy", "memory triad")
# What a number format is called in the ceilings; of several figures the highest is the roof.
COMPUTE = {
    "bfloat16": ("gemm bf16 square", "gemm bf16 best shape"),
    "float16": ("gemm fp16 square",),
    "float32": ("gemm fp32 square",),
}
FP8 = "gemm fp8 square"


@dataclass(frozen=True)
class Roof:
    per_s: float  # of all devices that share the step
    name: str
    devices: int
    stable: bool
    quick: bool
    measured: str  # UTC

    @property
    def remark(self) -> str:
        """What weakens it, in words."""
        return "" if self.stable and not self.quick else "measured in haste" if self.stable else "unstable"


def memory_roof(facts: dict[str, Any]) -> Roof | None:
    return highest(facts, MEMORY)


def compute_roof(facts: dict[str, Any]) -> Roof | None:
    """In the format of the products: weights of 8-bit floats are multiplied as such where the device can."""
    names = COMPUTE.get(facts["model"]["dtype"], ())
    if mostly_fp8(facts) and (found := highest(facts, (FP8,))):
        return found
    return highest(facts, names)


def mostly_fp8(facts: dict[str, Any]) -> bool:
    dtypes: dict[str, int] = facts["loaded"][0]["dtypes"]
    return 2 * sum(size for name, size in dtypes.items() if name.startswith("float8")) > sum(dtypes.values())


def highest(facts: dict[str, Any], names: tuple[str, ...]) -> Roof | None:
    """Summed over the devices of the ranks; None unless each of them was measured."""
    roofs = []
    for device in {row["device"] for row in facts.get("memory", ())}:
        measured = measured_on(facts, device)
        if not (known := [name for name in names if name in measured]):
            return None
        name = max(known, key=lambda name: measured[name]["value"])
        roofs.append((name, measured[name]))
    if not roofs:
        return None
    return Roof(
        per_s=sum(float(ceiling["value"]) for _, ceiling in roofs),
        name=roofs[0][0],
        devices=len(roofs),
        stable=all(ceiling["stable"] for _, ceiling in roofs),
        quick=any(ceiling["quick"] for _, ceiling in roofs),
        measured=min(ceiling["measured"] for _, ceiling in roofs),
    )


def measured_on(facts: dict[str, Any], device: str) -> dict[str, Any]:
    """The ceilings that this run carries for one of its devices."""
    carried = (facts.get("hardware") or {}).get("ceilings") or {}
    if device != "cpu":
        return dict(carried.get(device, {}))
    return next((dict(found) for identity, found in carried.items() if identity.startswith("cpu-")), {})
