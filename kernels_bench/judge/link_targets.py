"""Verdicts on transfers from GPU to GPU, by what the path between the two should carry."""

import msgspec

from kernels_bench.devices.nvml import CROSSING, NVLINK
from kernels_bench.devices.specifications import LANE_BYTES_PER_S, Specification
from kernels_bench.judge.verdicts import NO_MARK, Judgement, worst_of
from kernels_bench.output.quantities import quantity
from kernels_bench.results import FAIL, INVALID, PASS, WARN, Result

# Marks from "05 — Benchmarks for L40S x12", for GPUs with 16 lanes of PCIe generation 4.
P2P_GOOD, P2P_CROSSING = 25e9, 10e9
FOUR_WIDE = 16 * LANE_BYTES_PER_S[4]


def by_path(result: Result, path: str, specification: Specification | None = None) -> Result:
    """Judge a transfer by the marks for its path, and tell how a latency was measured; return others as they are."""
    figure = result.figure
    if figure is not None and (figure.test, figure.name) == ("p2p", "latency"):
        words = f"launched {figure.detail['launched']}"
        return msgspec.structs.replace(result, reasons=(words, *result.reasons))
    if figure is None or (figure.test, figure.name) != ("p2p", "one way") or result.verdict in (FAIL, INVALID):
        return result
    links = specification.nvlink_gb_per_s if specification and path == NVLINK else None
    if links:
        verdict, reason = links_verdict(figure.value, links * 1e9 / 2)
    else:
        slot = specification.ceiling("pcie", "to card") if specification else None
        verdict, reason = path_verdict(figure.value, path, min(1.0, (slot or FOUR_WIDE) / FOUR_WIDE))
    if figure.detail.get("direct") == 0:
        reason += "; the driver allows no direct access between the two, so it goes through the host's memory"
    verdict = worst_of((result.verdict, verdict))
    reasons = (reason, *(text for text in result.reasons if text != NO_MARK))
    return msgspec.structs.replace(result, verdict=verdict, reasons=reasons)


def links_verdict(value: float, one_way: float) -> Judgement:
    """Judge a transfer over NVLink; two GPUs use all their links through a switch, but only some if wired directly."""
    text = f"NVLink, {value / one_way:.0%} of {quantity(one_way, 'B/s')}, which all links of the GPU carry one way"
    if value < one_way / 2:
        return WARN, f"{text}: these two are connected by some of them only, or links are down"
    return PASS, text


def path_verdict(value: float, path: str, slot: float = 1.0) -> Judgement:
    """Judge a transfer over PCIe; `slot` is the GPU's PCIe as a share of that which the marks are for."""
    good, crossing = P2P_GOOD * slot, P2P_CROSSING * slot
    if value > good:
        return PASS, f"{path}, more than {quantity(good, 'B/s')}"
    if value >= crossing:
        return WARN, f"{path}, under the {quantity(good, 'B/s')} of a good pair"
    if path == CROSSING:
        return WARN, f"{path}: put GPUs that communicate on one node"
    return FAIL, f"{path}, yet under {quantity(crossing, 'B/s')}, as if it crossed NUMA nodes"
