"""What a card should reach, by its maker's documents: `specifications.toml`, matched by NVML's name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

# One direction of one PCIe lane in bytes per second, after its line code: 8b/10b to generation 2, 128b/130b to 5,
# and FLITs from 6 on (PCI-SIG base specifications). Packet headers still come off this.
LANE_BYTES_PER_S = {
    1: 2.5e9 * 8 / 10 / 8,
    2: 5e9 * 8 / 10 / 8,
    3: 8e9 * 128 / 130 / 8,
    4: 16e9 * 128 / 130 / 8,
    5: 32e9 * 128 / 130 / 8,
    6: 64e9 * 242 / 256 / 8,
}


class Specification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row. Rates are dense."""

    names: tuple[str, ...]
    source: str
    compared: str  # with which other public documents, and what was found
    capability: str  # CUDA's
    memory_gb_per_s: float
    tera: dict[str, float]
    pcie_generation: int | None = None
    pcie_width: int | None = None
    nvlink_gb_per_s: float | None = None
    half_rate: bool = False  # tensor cores add in float32 at half their rate, as on cards for games
    unconfirmed: tuple[str, ...] = ()  # columns that nothing public was found to confirm
    seen: dict[str, float] = {}  # "gemm bf16 square": what others measured on such a card
    seen_by: str = ""

    def ceiling(self, test: str, name: str) -> float | None:
        """Of one figure, in its own unit; None where the document says nothing about it."""
        column = held_to(test, name)
        if column == "memory":
            return self.memory_gb_per_s * 1e9
        if column in self.tera:
            return self.tera[column] * 1e12
        if column == "pcie" and self.pcie_generation and self.pcie_width:
            one_way = LANE_BYTES_PER_S[self.pcie_generation] * self.pcie_width
            return 2 * one_way if name.startswith("both") else one_way
        return None

    def doubted(self, test: str, name: str) -> bool:
        return held_to(test, name) in self.unconfirmed


def held_to(test: str, name: str) -> str:
    """The column of the table that limits a figure; a decoding product reads its weight once, so memory does."""
    kind, _, what = name.partition(" ")
    if test in ("memory", "attention") or what.startswith("decode"):
        return "memory"
    return {"gemm": kind, "sustained": kind, "pcie": "pcie"}.get(test, "")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    card: tuple[Specification, ...]


def specification_of(name: str) -> Specification | None:
    return next((row for row in specifications() if _plain(name) in map(_plain, row.names)), None)


@cache
def specifications() -> tuple[Specification, ...]:
    text = (files("kernels_bench.devices") / "specifications.toml").read_bytes()
    return msgspec.toml.decode(text, type=_Table).card


def _plain(name: str) -> str:
    """Drivers before 470 wrote Tesla and GeForce names without the NVIDIA in front."""
    return name.removeprefix("NVIDIA ").casefold()
