"""The rates in the makers' documents, from `specifications.toml`, found by a GPU's name in NVML."""

from functools import cache
from importlib.resources import files

import msgspec

# One direction of one PCIe lane in bytes per second, without its line code: 8b/10b up to generation 2, 128b/130b up to
# 5, FLITs from 6 on (PCI-SIG base specifications). Packet headers are not subtracted.
LANE_BYTES_PER_S = {
    1: 2.5e9 * 8 / 10 / 8,
    2: 5e9 * 8 / 10 / 8,
    3: 8e9 * 128 / 130 / 8,
    4: 16e9 * 128 / 130 / 8,
    5: 32e9 * 128 / 130 / 8,
    6: 64e9 * 242 / 256 / 8,
}


class Specification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holds the row of one GPU; rates are those of dense operands."""

    names: tuple[str, ...]
    source: str
    compared: str  # the other public documents that the row was compared with, and the result
    capability: str  # CUDA's
    memory_gb_per_s: float
    tera: dict[str, float]
    memory_gib: float | None = None  # that a program gets; None if it is not known well enough
    pcie_generation: int | None = None
    pcie_width: int | None = None
    nvlink_gb_per_s: float | None = None
    half_rate: bool = False  # tensor cores add in float32 at half their rate, as on gaming GPUs
    unconfirmed: tuple[str, ...] = ()  # columns for which no public confirmation was found
    seen: dict[str, float] = {}  # "gemm bf16 square": what others measured on such a GPU
    seen_by: str = ""

    def ceiling(self, test: str, name: str) -> float | None:
        """Return the limit of a figure in its unit; None if the document has none."""
        column = limiting_column(test, name)
        if column == "memory":
            return self.memory_gb_per_s * 1e9
        if column in self.tera:
            return self.tera[column] * 1e12
        if column == "pcie" and self.pcie_generation and self.pcie_width:
            one_way = LANE_BYTES_PER_S[self.pcie_generation] * self.pcie_width
            return 2 * one_way if name.startswith("both") else one_way
        return None


def limiting_column(test: str, name: str) -> str:
    """Return the column of the table that limits a figure; a decode product is limited by reading its weight."""
    precision, _, shape = name.partition(" ")
    if test in ("memory", "attention") or shape.startswith("decode"):
        return "memory"
    return {"gemm": precision, "sustained": precision, "pcie": "pcie"}.get(test, "")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    card: tuple[Specification, ...]


def specification_of(name: str) -> Specification | None:
    return next((row for row in specifications() if _normalised(name) in map(_normalised, row.names)), None)


@cache
def specifications() -> tuple[Specification, ...]:
    text = (files("kernels_bench.devices") / "specifications.toml").read_bytes()
    return msgspec.toml.decode(text, type=_Table).card


def _normalised(name: str) -> str:
    """Return a name without the leading NVIDIA, which drivers before 470 left out of Tesla and GeForce names."""
    return name.removeprefix("NVIDIA ").casefold()
