"""The measured ceilings of a run's devices, in bytes and operations per second, and how far they are trusted."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kernels_bench.judge.doubts import UNKNOWN_LOAD, UNSTABLE

Trust = Literal["trusted", "not known", "doubtful"]

MEMORY = ("memory read", "memory copy", "memory triad")
# The names of a number format in the ceilings; the highest of several figures is the ceiling.
COMPUTE = {
    "bfloat16": ("gemm bf16 square", "gemm bf16 best shape"),
    "float16": ("gemm fp16 square",),
    "float32": ("gemm fp32 square",),
}
FP8 = ("gemm fp8 square", "gemm fp8 fast square")  # fast: with the narrow sums that vLLM's kernels use, too
INT8 = ("gemm int8 square",)
PERCENTAGE = re.compile(r"(\d+)%")
W8A8 = re.compile("W8A8Int8")  # in the names of vLLM's schemes that also quantise the activations


@dataclass(frozen=True)
class Ceiling:
    per_s: float  # of all devices that share the step
    name: str
    devices: int
    quick: bool
    measured: str  # UTC
    spread: float  # interquartile range of its samples as a share of the median; 0 if not recorded
    verdict: Trust
    doubts: tuple[str, ...]

    @property
    def remark(self) -> str:
        """Return the caution for figures that rest on this ceiling; empty without one."""
        doubts = f"{'doubtful: ' * (self.verdict == 'doubtful')}{'; '.join(self.doubts)}"
        return ", ".join(filter(None, ("quick" * self.quick, doubts)))


def compute_ceiling(facts: dict[str, Any]) -> Ceiling | None:
    """Return the ceiling for the type in which the model's matrices are multiplied.

    FP8 weights are multiplied as FP8 if the device can. INT8 weights are if the activations are quantised as well,
    else in the model's type; older recordings do not tell which.
    """
    if mostly(facts, "float8") and (found := highest(facts, FP8)):
        return found
    if mostly(facts, "int8"):
        schemes: dict[str, int] = facts["loaded"][0].get("schemes", {})
        if not schemes:
            return None
        if 2 * sum(size for name, size in schemes.items() if W8A8.search(name)) > sum(schemes.values()):
            return highest(facts, INT8)
    return highest(facts, COMPUTE.get(facts["model"]["dtype"], ()))


def mostly(facts: dict[str, Any], dtype: str) -> bool:
    """Return whether most bytes of the weights are of types that begin so."""
    dtypes: dict[str, int] = facts["loaded"][0]["dtypes"]
    return 2 * sum(size for name, size in dtypes.items() if name.startswith(dtype)) > sum(dtypes.values())


def highest(facts: dict[str, Any], names: tuple[str, ...]) -> Ceiling | None:
    """Return the highest of these ceilings, summed over the devices of the ranks. None if a device was not measured."""
    ceilings = []
    for device in {row["device"] for row in facts.get("memory", ())}:
        measured = measured_on(facts, device)
        if not (measured_names := [name for name in names if name in measured]):
            return None
        name = max(measured_names, key=lambda name: measured[name]["value"])
        ceilings.append((name, measured[name]))
    if not ceilings:
        return None
    verdicts = {verdict_of(ceiling) for _, ceiling in ceilings}
    return Ceiling(
        per_s=sum(float(ceiling["value"]) for _, ceiling in ceilings),
        name=ceilings[0][0],
        devices=len(ceilings),
        quick=any(ceiling["quick"] for _, ceiling in ceilings),
        measured=min(ceiling["measured"] for _, ceiling in ceilings),
        spread=max(ceiling.get("spread") or 0.0 for _, ceiling in ceilings),
        verdict=next(verdict for verdict in ("doubtful", "not known", "trusted") if verdict in verdicts),
        doubts=distinct_doubts(doubt for _, ceiling in ceilings for doubt in doubts_of(ceiling)),
    )


def verdict_of(ceiling: Mapping[str, Any]) -> Trust:
    """Return the verdict of `validate`; older versions gave none, and did not record other load."""
    verdict: Trust | None = ceiling.get("verdict")
    return verdict or ("not known" if ceiling["stable"] else "doubtful")


def doubts_of(ceiling: Mapping[str, Any]) -> tuple[str, ...]:
    if ceiling.get("verdict"):
        return tuple(ceiling.get("doubts", ()))
    return (UNKNOWN_LOAD,) if ceiling["stable"] else (UNSTABLE, UNKNOWN_LOAD)


def distinct_doubts(doubts: Iterable[str]) -> tuple[str, ...]:
    """Return each doubt once; those that differ in a percentage alone become one, with the range."""
    percentages: dict[str, list[int]] = {}
    for doubt in doubts:
        percentages.setdefault(PERCENTAGE.sub("{}", doubt, count=1), []).extend(map(int, PERCENTAGE.findall(doubt)[:1]))
    return tuple(
        words.replace("{}", " to ".join(f"{share}%" for share in sorted({min(shares), max(shares)})))
        if shares
        else words
        for words, shares in percentages.items()
    )


def measured_on(facts: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the ceilings recorded with this run for one of its devices."""
    carried = (facts.get("hardware") or {}).get("ceilings") or {}
    if device != "cpu":
        return dict(carried.get(device, {}))
    return next((dict(found) for identity, found in carried.items() if identity.startswith("cpu-")), {})
