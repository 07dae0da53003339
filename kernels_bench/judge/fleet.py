"""The reports of many machines as one: devices slower than others of their model, and differences between nodes."""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from kernels_bench.judge.outliers import outliers
from kernels_bench.results import FAIL, INVALID, WARN, Finding, NotNegative, Report, Struct, Verdict

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended


class Node(Struct, frozen=True):
    """Holds the report of one machine, or why there is none."""

    name: str
    node_id: str
    report: Report | None = None
    failed: str = ""

    @property
    def verdicts(self) -> list[Verdict]:
        return self.report.verdicts if self.report else [INVALID]


class FleetReport(Struct, frozen=True):
    """Holds the content of the file that --ray and --json write."""

    schema: Literal["kernels_bench.fleet/1"]
    started: str  # UTC
    seconds: NotNegative
    command: tuple[str, ...]
    tolerance: NotNegative
    nodes: tuple[Node, ...]
    findings: tuple[Finding, ...] = ()
    stopped: bool = False  # by Ctrl-C, before the end

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for node in self.nodes for verdict in node.verdicts]


def reports_of(report: Report | FleetReport) -> list[Report]:
    return [report] if isinstance(report, Report) else [node.report for node in report.nodes if node.report]


def exit_code(report: Report | FleetReport) -> int:
    """Return 1 if a verdict is FAIL, else 130 if a run was stopped, else 3 if a figure or a node is INVALID, else 0."""
    if FAIL in report.verdicts:
        return 1
    if report.stopped or any(each.stopped for each in reports_of(report)):
        return INTERRUPTED
    return 3 if INVALID in report.verdicts else 0


def across(nodes: Sequence[Node], tolerance: float) -> tuple[Node, ...]:
    """Return the nodes with a warning on each device that is slower than the devices of its model in the fleet."""
    kinds = {device: kind for node in nodes if node.report for device, kind in kinds_of(node.name, node.report)}
    all_results = [
        msgspec.structs.replace(result, device=f"{node.name}/{result.device}")
        for node in nodes
        if node.report
        for result in node.report.results
    ]
    judged = iter(outliers(all_results, kinds, tolerance, "in the fleet"))
    judged_nodes = []
    for node in nodes:
        if node.report:
            results = tuple(
                msgspec.structs.replace(next(judged), device=result.device) for result in node.report.results
            )
            node = msgspec.structs.replace(node, report=msgspec.structs.replace(node.report, results=results))
        judged_nodes.append(node)
    return tuple(judged_nodes)


def kinds_of(name: str, report: Report) -> Iterator[tuple[str, str]]:
    """Yield each device or pair of a node with what it is compared as: its models, and a pair's path."""
    models = report.models
    yield from ((f"{name}/{target}", model) for target, model in models.items())
    yield f"{name}/all", f"all of {sorted(models.values())}"
    for pair, path in report.topology.items():
        yield f"{name}/{pair}", f"{'→'.join(models[end] for end in pair.split('→'))}, {path}"


def differences(nodes: Sequence[Node]) -> list[Finding]:
    """Warn about software versions that differ between nodes, because they may explain different figures."""
    reports = [(node.name, node.report) for node in nodes if node.report]
    warnings = []
    for program in dict.fromkeys(key for _, report in reports for key in report.versions):
        nodes_by_version: dict[str, list[str]] = {}
        for name, report in reports:
            nodes_by_version.setdefault(report.versions.get(program, "none"), []).append(name)
        if len(nodes_by_version) > 1:
            versions = "; ".join(f"{version} on {', '.join(names)}" for version, names in nodes_by_version.items())
            warnings.append(Finding(WARN, f"{program} differs: {versions}"))
    return warnings
