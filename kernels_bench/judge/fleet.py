"""The reports of many machines as one: who lags behind its equals in the whole fleet, and what its nodes differ in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from kernels_bench.judge.outliers import outliers
from kernels_bench.judge.verdicts import worst_of
from kernels_bench.output.terminal import INTERRUPTED, all_verdicts, exit_code
from kernels_bench.results import INVALID, WARN, Finding, NotNegative, Report, Result, Struct, Verdict


class Node(Struct, frozen=True):
    """One machine: its report, or why there is none."""

    name: str
    node_id: str
    report: Report | None = None
    failed: str = ""

    @property
    def verdicts(self) -> list[Verdict]:
        return all_verdicts(self.report) if self.report else [INVALID]


class FleetReport(Struct, frozen=True):
    """The file that --ray and --json write."""

    schema: Literal["kernels_bench.fleet/1"]
    started: str  # UTC
    seconds: NotNegative
    command: tuple[str, ...]
    tolerance: NotNegative
    nodes: tuple[Node, ...]
    findings: tuple[Finding, ...] = ()
    stopped: bool = False  # by Ctrl-C, before the end


def fleet_exit_code(fleet: FleetReport) -> int:
    """The worst of all nodes: 1 where something failed, else 130 where all was stopped, else 3 where a figure or a
    whole node could not be had."""
    codes = {exit_code(node.report) if node.report else 3 for node in fleet.nodes}
    codes |= {INTERRUPTED} if fleet.stopped else set()
    return next((code for code in (1, INTERRUPTED, 3) if code in codes), 0)


def worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    return worst_of(verdicts) if verdicts else None


def across(nodes: Sequence[Node], tolerance: float) -> tuple[Node, ...]:
    """The same nodes, with each device named that lags behind the devices of its model in the fleet."""
    kinds = {place: kind for node in nodes if node.report for place, kind in kinds_of(node.name, node.report)}
    everywhere = [
        msgspec.structs.replace(result, device=f"{node.name}/{result.device}")
        for node in nodes
        if node.report
        for result in node.report.results
    ]
    judged = iter(outliers(everywhere, kinds, tolerance, "in the fleet"))
    found = []
    for node in nodes:
        if node.report:
            results = tuple(at_home(next(judged), own) for own in node.report.results)
            node = msgspec.structs.replace(node, report=msgspec.structs.replace(node.report, results=results))
        found.append(node)
    return tuple(found)


def kinds_of(name: str, report: Report) -> Iterator[tuple[str, str]]:
    """What each place in a box is compared as: a card by its model, a pair by its models and the way between them."""
    cards = {part.device.target: part.device.name for part in report.devices}
    yield from ((f"{name}/{target}", card) for target, card in cards.items())
    yield f"{name}/all", f"all of {sorted(cards.values())}"
    for pair, path in report.topology.items():
        yield f"{name}/{pair}", f"{'→'.join(cards[end] for end in pair.split('→'))}, {path}"


def at_home(judged: Result, own: Result) -> Result:
    return msgspec.structs.replace(judged, device=own.device)


def differences(nodes: Sequence[Node]) -> list[Finding]:
    """Figures of different programs are not figures of different hardware alone: that is said."""
    reports = [(node.name, node.report) for node in nodes if node.report]
    found = []
    for what in dict.fromkeys(key for _, report in reports for key in report.versions):
        having: dict[str, list[str]] = {}
        for name, report in reports:
            having.setdefault(report.versions.get(what, "none"), []).append(name)
        if len(having) > 1:
            told = "; ".join(f"{version} on {', '.join(names)}" for version, names in having.items())
            found.append(Finding(WARN, f"{what} differs: {told}"))
    return found
